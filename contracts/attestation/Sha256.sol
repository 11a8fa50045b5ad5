// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Sha256
/// @notice Hashes calldata in place.
library Sha256 {
    /// @dev Reverts if the precompile fails, which it does for lack of gas only.
    function ofSlice(bytes calldata data, uint256 start, uint256 end) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            let m := mload(0x40)
            let length := sub(end, start)
            calldatacopy(m, add(data.offset, start), length)
            if iszero(and(eq(returndatasize(), 0x20), staticcall(gas(), 2, m, length, 0x00, 0x20))) {
                revert(0x00, 0x00)
            }
            hash := mload(0x00)
        }
    }
}
