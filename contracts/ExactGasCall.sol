// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title ExactGasCall
/// @notice Calls a contract with exactly the gas asked for, or reverts; never copies what it returns.
library ExactGasCall {
    /// @dev What the EVM takes between the check and the callee's first instruction: a cold account (2,600),
    /// stack work, and a margin.
    uint256 internal constant CALL_COST = 3_000;

    error CallbackGasMissing(uint256 required, uint256 actual);

    /// @notice Calls `target` with `data` and `gasLimit`.
    /// @dev EIP-150 keeps back a 64th of what is left at each call and silently passes on less than was asked
    /// for. So whoever submits could make a callback fail for lack of gas while the transaction succeeds. Hence:
    ///  1. before: a 64th kept back, `gasLimit` must remain;
    ///  2. after, if the call failed: the 64th must still be there, else the callee got less than `gasLimit`.
    /// @return success False if the callee reverted or used up `gasLimit`.
    function tryCall(address target, uint256 gasLimit, bytes memory data) internal returns (bool success) {
        unchecked {
            uint256 required = gasLimit + gasLimit / 63 + 1 + CALL_COST;
            uint256 left = gasleft();
            // INVARIANT: a callee that can run has all the gas that its request asked for.
            require(left >= required, CallbackGasMissing(required, left));
            assembly ("memory-safe") {
                // No return data is copied: the callee pays for it, the caller does not.
                success := call(gasLimit, target, 0, add(data, 32), mload(data), 0, 0)
            }
            if (!success) {
                left = gasleft();
                require(left >= gasLimit / 63, CallbackGasMissing(gasLimit / 63, left));
            }
        }
    }
}
