// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title P256
/// @notice Checks ECDSA signatures over secp256r1 by the precompile of EIP-7951.
/// @dev The precompile itself refuses r or s out of range, and keys that are not on the curve.
library P256 {
    uint256 private constant PRECOMPILE = 0x100;
    /// @dev Half the order of the curve, rounded down: the largest `s` that counts as low.
    uint256 private constant HALF_ORDER = 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8;

    /// @return valid Whether (r, s) signs `hash` by the key (x, y). False where there is no such precompile: a call to
    /// nobody succeeds too, but returns nothing.
    function isSignature(bytes32 hash, uint256 r, uint256 s, uint256 x, uint256 y) internal view returns (bool valid) {
        assembly ("memory-safe") {
            let m := mload(0x40)
            mstore(m, hash)
            mstore(add(m, 0x20), r)
            mstore(add(m, 0x40), s)
            mstore(add(m, 0x60), x)
            mstore(add(m, 0x80), y)
            mstore(0x00, 0)
            let success := staticcall(gas(), PRECOMPILE, m, 0xa0, 0x00, 0x20)
            valid := and(and(success, eq(returndatasize(), 0x20)), eq(mload(0x00), 1))
        }
    }

    /// @return Whether `s` is the lower of the two that a signature may have.
    function isLow(uint256 s) internal pure returns (bool) {
        return s <= HALF_ORDER;
    }
}
