// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBytes} from "solady/utils/LibBytes.sol";

import {UnixTime} from "./UnixTime.sol";

/// @title Der
/// @notice Reads DER (X.690) from calldata, strictly: lengths are minimal, and nothing reaches beyond what holds it.
/// @dev All positions count from the start of `der`. Every `limit` is `der.length` or the end of an element that was
/// read before, so nothing beyond `der` is ever read as part of it.
library Der {
    uint256 internal constant BOOLEAN = 0x01;
    uint256 internal constant INTEGER = 0x02;
    uint256 internal constant BIT_STRING = 0x03;
    uint256 internal constant OCTET_STRING = 0x04;
    uint256 internal constant OBJECT_IDENTIFIER = 0x06;
    uint256 internal constant UTF8_STRING = 0x0c;
    uint256 internal constant PRINTABLE_STRING = 0x13;
    uint256 internal constant UTC_TIME = 0x17;
    uint256 internal constant GENERALIZED_TIME = 0x18;
    uint256 internal constant SEQUENCE = 0x30;
    uint256 internal constant SET = 0x31;
    uint256 internal constant CONTEXT_0 = 0xa0;
    uint256 internal constant CONTEXT_3 = 0xa3;

    uint256 private constant ZULU = 0x5a;
    /// @dev "20" and "19", before the twelve digits of a UTCTime.
    uint256 private constant CENTURY_20 = 0x3230 << 96;
    uint256 private constant CENTURY_19 = 0x3139 << 96;

    error DerMalformed(uint256 pos);
    error DerTagUnexpected(uint256 pos, uint256 expected, uint256 actual);

    /// @notice The element at `pos`, which must end at `limit` or before.
    /// @return tag Its tag, one byte.
    /// @return start Where its content begins.
    /// @return end Where its content, and the element, ends.
    function element(bytes calldata der, uint256 pos, uint256 limit)
        internal
        pure
        returns (uint256 tag, uint256 start, uint256 end)
    {
        tag = uint256(LibBytes.loadCalldata(der, pos)) >> 248;
        (start, end) = open(der, pos, limit, tag);
    }

    /// @notice As `element`, which must have the tag `expected`.
    function open(bytes calldata der, uint256 pos, uint256 limit, uint256 expected)
        internal
        pure
        returns (uint256 start, uint256 end)
    {
        // Nothing overflows: positions are within calldata, and lengths have two bytes.
        unchecked {
            uint256 word = uint256(LibBytes.loadCalldata(der, pos));
            require(word >> 248 == expected, DerTagUnexpected(pos, expected, word >> 248));
            uint256 length = word >> 240 & 0xff;
            start = pos + 2;
            if (length >= 0x80) {
                if (length == 0x81) {
                    length = word >> 232 & 0xff;
                    start = pos + 3;
                    require(length >= 0x80, DerMalformed(pos));
                } else {
                    require(length == 0x82, DerMalformed(pos));
                    length = word >> 224 & 0xffff;
                    start = pos + 4;
                    require(length >= 0x100, DerMalformed(pos));
                }
            }
            end = start + length;
            require(end <= limit, DerMalformed(pos));
        }
    }

    /// @notice The INTEGER at `pos`, which must not be negative, nor larger than 256 bits.
    function unsigned(bytes calldata der, uint256 pos, uint256 limit)
        internal
        pure
        returns (uint256 value, uint256 end)
    {
        unchecked {
            uint256 start;
            (start, end) = open(der, pos, limit, INTEGER);
            uint256 length = end - start;
            uint256 word = uint256(LibBytes.loadCalldata(der, start));
            require(length != 0 && word >> 255 == 0, DerMalformed(pos));
            if (word >> 248 == 0 && length > 1) {
                // A zero byte comes first only where the next one would say that the number is negative.
                require(word >> 247 & 1 != 0, DerMalformed(pos));
                word = uint256(LibBytes.loadCalldata(der, start + 1));
                --length;
            }
            require(length <= 32, DerMalformed(pos));
            value = word >> (256 - 8 * length);
        }
    }

    /// @notice The content of the OCTET STRING at `pos`, which must be `length` bytes, 32 at most, as a number.
    function octets(bytes calldata der, uint256 pos, uint256 limit, uint256 length)
        internal
        pure
        returns (uint256 value, uint256 end)
    {
        unchecked {
            uint256 start;
            (start, end) = open(der, pos, limit, OCTET_STRING);
            require(end - start == length, DerMalformed(pos));
            value = uint256(LibBytes.loadCalldata(der, start)) >> (256 - 8 * length);
        }
    }

    /// @notice Passes over the time at `pos`, whatever it is.
    function skipTime(bytes calldata der, uint256 pos, uint256 limit) internal pure returns (uint256 end) {
        uint256 tag;
        (tag,, end) = element(der, pos, limit);
        require(tag == UTC_TIME || tag == GENERALIZED_TIME, DerTagUnexpected(pos, UTC_TIME, tag));
    }

    /// @notice The UTCTime or GeneralizedTime at `pos`, in unix seconds; to the second, in Zulu time (RFC 5280,
    /// 4.1.2.5).
    function time(bytes calldata der, uint256 pos, uint256 limit) internal pure returns (uint256 unix, uint256 end) {
        unchecked {
            uint256 tag;
            uint256 start;
            (tag, start, end) = element(der, pos, limit);
            uint256 word = uint256(LibBytes.loadCalldata(der, start));
            uint256 digits;
            if (tag == UTC_TIME) {
                require(end - start == 13 && word >> 152 & 0xff == ZULU, DerMalformed(pos));
                // YY below 50 means 20YY.
                digits = word >> 160;
                digits |= digits >> 88 < 0x35 ? CENTURY_20 : CENTURY_19;
            } else {
                require(tag == GENERALIZED_TIME, DerTagUnexpected(pos, GENERALIZED_TIME, tag));
                require(end - start == 15 && word >> 136 & 0xff == ZULU, DerMalformed(pos));
                digits = word >> 144;
            }
            unix = UnixTime.fromDigits(digits);
        }
    }
}
