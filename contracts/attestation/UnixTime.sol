// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DateTimeLib} from "solady/utils/DateTimeLib.sol";

/// @title UnixTime
/// @notice Reads dates that are written in digits.
library UnixTime {
    uint256 private constant ONES = 0x0101010101010101010101010101;
    uint256 private constant EVEN_BYTES = 0x00ff00ff00ff00ff00ff00ff00ff;

    error DateInvalid();

    /// @param text Fourteen ASCII digits, YYYYMMDDhhmmss, as a number of fourteen bytes.
    /// @return Unix seconds, at most those that 32 bits hold: nothing here is meant to outlast the year 2106.
    function fromDigits(uint256 text) internal pure returns (uint256) {
        unchecked {
            uint256 digits = text ^ (0x30 * ONES);
            // Adding 118 to a byte sets its high bit exactly if it is over 9.
            require((digits | (digits + 118 * ONES)) & (0x80 * ONES) == 0, DateInvalid());
            // Pairs of digits, two bytes each: century, year, month, day, hour, minute, second.
            uint256 pairs = (digits >> 8 & EVEN_BYTES) * 10 + (digits & EVEN_BYTES);
            uint256 year = (pairs >> 96) * 100 + (pairs >> 80 & 0xff);
            uint256 month = pairs >> 64 & 0xff;
            uint256 day = pairs >> 48 & 0xff;
            uint256 hour = pairs >> 32 & 0xff;
            uint256 minute = pairs >> 16 & 0xff;
            uint256 second = pairs & 0xff;
            require(DateTimeLib.isSupportedDateTime(year, month, day, hour, minute, second), DateInvalid());
            uint256 unix = DateTimeLib.dateTimeToTimestamp(year, month, day, hour, minute, second);
            return unix > type(uint32).max ? type(uint32).max : unix;
        }
    }
}
