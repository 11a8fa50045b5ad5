// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Outcome} from "./Receipt.sol";

/// @notice How a request was settled, in the one data word of `RequestSettled`.
/// @dev Layout, high to low:
///
///     | fee charged, wei 128 | fuelUsed 64 | zero 48 | outcome 8 | callbackSucceeded 8 |
type Settlement is uint256;

using SettlementLibrary for Settlement global;

/// @title SettlementLibrary
/// @notice Packs and unpacks `Settlement`.
library SettlementLibrary {
    /// @dev Warning: does not check that `fee_` fits 128 bits; no fee exceeds the wei in existence.
    function pack(uint256 fee_, uint64 fuelUsed_, Outcome outcome_, bool callbackSucceeded_)
        internal
        pure
        returns (Settlement settlement)
    {
        uint256 called;
        assembly ("memory-safe") {
            called := callbackSucceeded_
        }
        return Settlement.wrap(fee_ << 128 | uint256(fuelUsed_) << 64 | outcome_.word() << 8 | called);
    }

    function fee(Settlement self) internal pure returns (uint128) {
        return uint128(Settlement.unwrap(self) >> 128);
    }

    function fuelUsed(Settlement self) internal pure returns (uint64) {
        return uint64(Settlement.unwrap(self) >> 64);
    }

    function outcome(Settlement self) internal pure returns (Outcome) {
        return Outcome(uint8(Settlement.unwrap(self) >> 8));
    }

    /// @return False if the consumer reverted, used up the gas it asked for, or asked for none.
    function callbackSucceeded(Settlement self) internal pure returns (bool) {
        return uint8(Settlement.unwrap(self)) != 0;
    }
}
