// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice What the registry keeps of a signing key, in one storage word; zero if the key is unknown.
/// @dev Layout, high to low. `approval` numbers the approval of a measurement under which the key registered, and
/// `revocations` is what the registry's revocation counter showed then:
///
///     | operator 160 | approval 32 | revocations 24 | liveUntil, unix s 40 |
type Key is uint256;

using KeyLibrary for Key global;

/// @title KeyLibrary
/// @notice Packs and unpacks `Key`.
library KeyLibrary {
    /// @dev The approval number of a key that was revoked. Never given out, never standing.
    uint32 internal constant REVOKED = type(uint32).max;

    function pack(address operator_, uint32 approval_, uint24 revocations_, uint40 liveUntil_)
        internal
        pure
        returns (Key)
    {
        return Key.wrap(
            uint256(uint160(operator_)) << 96 | uint256(approval_) << 64 | uint256(revocations_) << 40 | liveUntil_
        );
    }

    function operator(Key self) internal pure returns (address) {
        return address(uint160(Key.unwrap(self) >> 96));
    }

    function approval(Key self) internal pure returns (uint32) {
        return uint32(Key.unwrap(self) >> 64);
    }

    function revocations(Key self) internal pure returns (uint24) {
        return uint24(Key.unwrap(self) >> 40);
    }

    function liveUntil(Key self) internal pure returns (uint40) {
        return uint40(Key.unwrap(self));
    }

    /// @dev Approvals are numbered from 1, so a known key is never the zero word.
    function isKnown(Key self) internal pure returns (bool) {
        return Key.unwrap(self) != 0;
    }

    function isRevoked(Key self) internal pure returns (bool) {
        return self.approval() == REVOKED;
    }
}
