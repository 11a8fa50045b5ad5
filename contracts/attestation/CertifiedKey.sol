// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice What is remembered of an attestation key that a quoting enclave vouched for, in one word; zero if nothing
/// is.
/// @dev Layout, high to low. `identity` is the start of the hash of that which every version of a quoting enclave must
/// be: if Intel's identity of it changes, the keys that it vouched for before no longer count. Only Intel chooses what
/// is hashed, so 64 bits are enough.
///
///     | where the PCK is kept 160 | unused 8 | identity 64 | QE's ISVSVN 16 | TEE 8 |
type CertifiedKey is uint256;

using CertifiedKeyLibrary for CertifiedKey global;

/// @title CertifiedKeyLibrary
/// @notice Packs and unpacks `CertifiedKey`.
library CertifiedKeyLibrary {
    function pack(address pck_, uint256 identity_, uint256 qeSvn_, uint256 tee_) internal pure returns (CertifiedKey) {
        return CertifiedKey.wrap(
            uint256(uint160(pck_)) << 96 | uint256(uint64(identity_)) << 24 | uint256(uint16(qeSvn_)) << 8
                | uint256(uint8(tee_))
        );
    }

    function isKnown(CertifiedKey self) internal pure returns (bool) {
        return CertifiedKey.unwrap(self) != 0;
    }

    function pck(CertifiedKey self) internal pure returns (address) {
        return address(uint160(CertifiedKey.unwrap(self) >> 96));
    }

    function identity(CertifiedKey self) internal pure returns (uint256) {
        return uint64(CertifiedKey.unwrap(self) >> 24);
    }

    function qeSvn(CertifiedKey self) internal pure returns (uint256) {
        return uint16(CertifiedKey.unwrap(self) >> 8);
    }

    function tee(CertifiedKey self) internal pure returns (uint256) {
        return uint8(CertifiedKey.unwrap(self));
    }
}
