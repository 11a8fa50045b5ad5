// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice What one consumer's requests left behind with one payee, in wei, in one word.
/// @dev Layout, high to low. Both halves grow by settling and shrink by withdrawing; see docs/adr/0002.
///
///     | refunded to the consumer 128 | earned by the payee 128 |
type Tab is uint256;

using TabLibrary for Tab global;

/// @title TabLibrary
/// @notice Adds to and takes from a `Tab`.
library TabLibrary {
    function earned(Tab self) internal pure returns (uint128) {
        return uint128(Tab.unwrap(self));
    }

    function refunded(Tab self) internal pure returns (uint128) {
        return uint128(Tab.unwrap(self) >> 128);
    }

    /// @dev Cannot overflow: all amounts were sent to this contract in wei, of which fewer than 2^128 exist.
    function credit(Tab self, uint256 toPayee, uint256 toConsumer) internal pure returns (Tab) {
        unchecked {
            return Tab.wrap(Tab.unwrap(self) + (toConsumer << 128 | toPayee));
        }
    }

    function withoutEarned(Tab self) internal pure returns (Tab) {
        return Tab.wrap(Tab.unwrap(self) >> 128 << 128);
    }

    function withoutRefunded(Tab self) internal pure returns (Tab) {
        return Tab.wrap(uint128(Tab.unwrap(self)));
    }
}
