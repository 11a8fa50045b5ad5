// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICoprocessorConsumer} from "./interfaces/ICoprocessorConsumer.sol";
import {Outcome} from "./types/Receipt.sol";
import {RequestId} from "./types/Request.sol";

/// @title ConsumerCall
/// @notice Calls a consumer back with exactly the gas it asked for, or reverts; never copies what it returns.
library ConsumerCall {
    /// @dev What the EVM takes between the check and the callee's first instruction: a cold account (2,600), the cold
    /// code that an EIP-7702 account delegates to (2,600), stack work, and a margin.
    uint256 internal constant CALL_COST = 6_000;

    error CallbackGasMissing(uint256 required, uint256 actual);

    /// @notice Calls `ICoprocessorConsumer.onReceipt`.
    /// @return success False if the consumer reverted or used up `gasLimit`.
    function onReceipt(address consumer, uint256 gasLimit, RequestId requestId, Outcome outcome, bytes calldata output)
        internal
        returns (bool success)
    {
        bytes4 selector = ICoprocessorConsumer.onReceipt.selector;
        uint256 start;
        uint256 size;
        // abi.encodeCall(onReceipt, (requestId, outcome, output)), past the free memory pointer and without moving
        // it: the words live until the call only.
        assembly ("memory-safe") {
            start := mload(0x40)
            let padded := and(add(output.length, 31), not(31))
            size := add(padded, 132) // selector, three words, length, output
            mstore(start, selector)
            mstore(add(start, 4), requestId)
            mstore(add(start, 36), outcome)
            mstore(add(start, 68), 96)
            mstore(add(start, add(padded, 100)), 0) // the last word's padding
            mstore(add(start, 100), output.length)
            calldatacopy(add(start, 132), output.offset, output.length)
        }
        return _call(consumer, gasLimit, start, size);
    }

    /// @notice Calls `ICoprocessorConsumer.onExpired`.
    /// @return success False if the consumer reverted or used up `gasLimit`.
    function onExpired(address consumer, uint256 gasLimit, RequestId requestId) internal returns (bool success) {
        bytes memory data = abi.encodeCall(ICoprocessorConsumer.onExpired, (requestId));
        uint256 start;
        assembly ("memory-safe") {
            start := add(data, 32)
        }
        return _call(consumer, gasLimit, start, data.length);
    }

    /// @dev EIP-150 keeps back a 64th of what is left at each call and silently passes on less than was asked for.
    /// So whoever submits could make a callback fail for lack of gas while the transaction succeeds. Hence:
    ///  1. before: with a 64th kept back, `gasLimit` must remain;
    ///  2. after, if the call failed: the 64th must still be there, else the callee got less than `gasLimit`.
    function _call(address target, uint256 gasLimit, uint256 start, uint256 size) private returns (bool success) {
        unchecked {
            uint256 required = gasLimit + gasLimit / 63 + CALL_COST;
            uint256 left = gasleft();
            // INVARIANT: a callback that runs has all the gas that its request asked for.
            if (left < required) revert CallbackGasMissing(required, left);
            assembly ("memory-safe") {
                success := call(gasLimit, target, 0, start, size, 0, 0)
            }
            if (!success) {
                left = gasleft();
                if (left < gasLimit / 63) revert CallbackGasMissing(gasLimit / 63, left);
            }
        }
    }
}
