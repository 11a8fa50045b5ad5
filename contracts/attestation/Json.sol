// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {UnixTime} from "./UnixTime.sol";

/// @notice A place in a JSON text that lies in calldata.
/// @param pos Where reading goes on, absolute in calldata.
/// @param end Where the text ends.
struct Reader {
    uint256 pos;
    uint256 end;
}

using Json for Reader global;

/// @title Json
/// @notice Reads JSON as Intel signs it: without space between tokens, and without escapes in strings. Members may
/// come in any order.
/// @dev Reading goes forward only, and `finish` checks that it ended where the text ends. So each function need not
/// check by itself that it stays within: what lies behind the text can make reading fail, and nothing else.
library Json {
    uint256 private constant ONES = 0x0101010101010101010101010101010101010101010101010101010101010101;
    uint256 private constant HIGH = 0x80 * ONES;
    uint256 private constant LOW = ~HIGH;
    uint256 private constant QUOTES = 0x22 * ONES;
    uint256 private constant BACKSLASHES = 0x5c * ONES;
    /// @dev Bits of which all characters but control characters have one.
    uint256 private constant NO_CONTROLS = 0xe0 * ONES;

    uint256 private constant QUOTE = 0x22;
    uint256 private constant COMMA = 0x2c;
    uint256 private constant COLON = 0x3a;
    uint256 private constant DATE_BYTES = 20;
    /// @dev What is between the digits of "YYYY-MM-DDThh:mm:ssZ", and where.
    uint256 private constant DATE_MARKS = 0x000000002d00002d00005400003a00003a00005a000000000000000000000000;
    uint256 private constant DATE_MARKED = 0x00000000ff0000ff0000ff0000ff0000ff0000ff000000000000000000000000;

    error JsonMalformed(uint256 pos);
    error NumberTooLarge(uint256 limit, uint256 actual);

    function reader(bytes calldata json) internal pure returns (Reader memory self) {
        uint256 start;
        assembly ("memory-safe") {
            start := json.offset
        }
        (self.pos, self.end) = (start, start + json.length);
    }

    /// @notice Checks that all was read, and no more.
    function finish(Reader memory self) internal pure {
        require(self.pos == self.end, JsonMalformed(self.pos));
    }

    /// @notice Enters an object ("{", "}") or an array ("[", "]").
    /// @return Whether it has members.
    function open(Reader memory self, bytes1 opening, bytes1 closing) internal pure returns (bool) {
        unchecked {
            uint256 pos = self.pos;
            uint256 word = _word(pos);
            require(word >> 248 == uint8(opening), JsonMalformed(pos));
            bool isEmpty = word >> 240 & 0xff == uint8(closing);
            self.pos = pos + (isEmpty ? 2 : 1);
            return !isEmpty;
        }
    }

    /// @notice Goes on after a member.
    /// @return Whether there is another one; if not, the object or array was left.
    function next(Reader memory self, bytes1 closing) internal pure returns (bool) {
        unchecked {
            uint256 pos = self.pos;
            uint256 character = _word(pos) >> 248;
            self.pos = pos + 1;
            if (character == COMMA) return true;
            require(character == uint8(closing), JsonMalformed(pos));
            return false;
        }
    }

    /// @notice The name of the member that follows, left-aligned. One that is too long for a word is zero, which is
    /// no name.
    function key(Reader memory self) internal pure returns (bytes32 name) {
        unchecked {
            (uint256 start, uint256 length) = _string(self);
            if (length < 32) name = bytes32(_word(start) >> (256 - 8 * length) << (256 - 8 * length));
            uint256 pos = self.pos;
            require(_word(pos) >> 248 == COLON, JsonMalformed(pos));
            self.pos = pos + 1;
        }
    }

    /// @notice The string that follows.
    /// @return start Its first 32 bytes, left-aligned, zeros after the end, and only there.
    /// @return length Its length in bytes.
    function text(Reader memory self) internal pure returns (bytes32 start, uint256 length) {
        unchecked {
            uint256 from;
            (from, length) = _string(self);
            uint256 word = _word(from);
            uint256 unused = length < 32 ? 256 - 8 * length : 0;
            require(_zeros(word & NO_CONTROLS) >> unused == 0, JsonMalformed(from));
            start = bytes32(word >> unused << unused);
        }
    }

    /// @return The last byte of the string that was read just now.
    function last(Reader memory self) internal pure returns (bytes1) {
        return bytes1(bytes32(_word(self.pos - 2)));
    }

    /// @notice The non-negative integer that follows.
    function number(Reader memory self, uint256 limit) internal pure returns (uint256 value) {
        unchecked {
            uint256 start = self.pos;
            uint256 pos = start;
            uint256 first = _word(start);
            uint256 word = first;
            for (uint256 digit = word >> 248 ^ 0x30; digit < 10; digit = word >> 248 ^ 0x30) {
                value = value * 10 + digit;
                ++pos;
                word <<= 8;
            }
            uint256 digits = pos - start;
            // No leading zeros.
            require(digits == 1 || (digits - 1 < 19 && first >> 248 != 0x30), JsonMalformed(start));
            require(value <= limit, NumberTooLarge(limit, value));
            self.pos = pos;
        }
    }

    /// @notice The bytes that follow, at most 32, written as a string of hexadecimal digits; as a number.
    function hexadecimal(Reader memory self, uint256 size) internal pure returns (uint256 value) {
        (uint256 from, uint256 length) = _string(self);
        require(length == 2 * size, JsonMalformed(from));
        if (size > 16) {
            value = _fromHex(_word(from), 16);
            from += 32;
            size -= 16;
        }
        value = value << (8 * size) | _fromHex(_word(from), size);
    }

    /// @notice As `hexadecimal`, of 48 bytes.
    function hexadecimal48(Reader memory self) internal pure returns (bytes memory) {
        (uint256 from, uint256 length) = _string(self);
        require(length == 96, JsonMalformed(from));
        return abi.encodePacked(
            uint128(_fromHex(_word(from), 16)),
            uint128(_fromHex(_word(from + 32), 16)),
            uint128(_fromHex(_word(from + 64), 16))
        );
    }

    /// @notice The date that follows, as in "2026-02-18T10:58:51Z", in unix seconds.
    function date(Reader memory self) internal pure returns (uint256) {
        (uint256 from, uint256 length) = _string(self);
        uint256 word = _word(from);
        require(length == DATE_BYTES && word & DATE_MARKED == DATE_MARKS, JsonMalformed(from));
        uint256 digits = word >> 224; // YYYY
        digits = digits << 16 | (word >> 200 & 0xffff); // MM
        digits = digits << 16 | (word >> 176 & 0xffff); // DD
        digits = digits << 16 | (word >> 152 & 0xffff); // hh
        digits = digits << 16 | (word >> 128 & 0xffff); // mm
        digits = digits << 16 | (word >> 104 & 0xffff); // ss
        return UnixTime.fromDigits(digits);
    }

    /// @notice Passes over the value that follows, whatever it is. Brackets must balance in number; what is passed over
    /// is signed, and not used.
    function skip(Reader memory self) internal pure {
        unchecked {
            uint256 depth;
            do {
                uint256 pos = self.pos;
                uint256 character = _word(pos) >> 248;
                if (character == QUOTE) {
                    _string(self);
                } else if (character == 0x7b || character == 0x5b) {
                    ++depth;
                    self.pos = pos + 1;
                } else if (character == 0x7d || character == 0x5d || character == COMMA || character == COLON) {
                    require(depth != 0, JsonMalformed(pos));
                    if (character >= 0x5d) --depth;
                    self.pos = pos + 1;
                } else {
                    _skipScalar(self);
                }
            } while (depth != 0);
        }
    }

    /// @dev A number, `true`, `false` or `null`: letters, digits, and what else numbers have.
    function _skipScalar(Reader memory self) private pure {
        unchecked {
            uint256 start = self.pos;
            uint256 pos = start;
            while (true) {
                uint256 character = _word(pos) >> 248;
                bool isPart = (character >= 0x30 && character <= 0x39) || (character >= 0x61 && character <= 0x7a)
                    || character == 0x2b || character == 0x2d || character == 0x2e || character == 0x45;
                if (!isPart) break;
                ++pos;
            }
            require(pos != start, JsonMalformed(start));
            self.pos = pos;
        }
    }

    /// @dev The string that follows: where its content begins, and its length.
    function _string(Reader memory self) private pure returns (uint256 start, uint256 length) {
        unchecked {
            uint256 pos = self.pos;
            require(_word(pos) >> 248 == QUOTE, JsonMalformed(pos));
            start = ++pos;
            while (true) {
                uint256 word = _word(pos);
                uint256 quotes = _zeros(word ^ QUOTES);
                uint256 before = 32;
                assembly ("memory-safe") {
                    if quotes { before := shr(3, clz(quotes)) }
                }
                // INVARIANT: strings have no escapes, so they end at the first quote.
                require(_zeros(word ^ BACKSLASHES) >> (256 - 8 * before) == 0, JsonMalformed(pos));
                pos += before;
                if (before != 32) break;
            }
            length = pos - start;
            self.pos = pos + 1;
        }
    }

    /// @dev The high bit of each byte that is zero, exactly.
    function _zeros(uint256 word) private pure returns (uint256) {
        unchecked {
            return ~(((word & LOW) + LOW) | word | LOW);
        }
    }

    /// @dev `2 * size` hexadecimal digits at the start of `word`, at most 32, as a number. All digits are checked at
    /// once: each byte of `nibbles` is the value of one.
    function _fromHex(uint256 word, uint256 size) private pure returns (uint256 value) {
        unchecked {
            // Right-aligned, filled up with the digit 0.
            uint256 digits = word >> (256 - 16 * size) | (0x30 * ONES) << (16 * size);
            uint256 letters = digits >> 6 & ONES;
            uint256 nibbles = (digits & (0x0f * ONES)) + 9 * letters;
            bool ok = digits & HIGH == 0 // ASCII
                && digits >> 4 & ONES == letters ^ ONES // digits are 0x3., letters 0x4. or 0x6.
                && (digits >> 5 & ONES) | letters == ONES && nibbles & (0x10 * ONES) == 0 // nothing over 15
                && (nibbles + 6 * ONES) >> 4 & ONES == letters; // letters, and they alone, are 10 and more
            require(ok, JsonMalformed(word));
            value = (nibbles >> 4 | nibbles) & 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
            value = (value >> 8 | value) & 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
            value = (value >> 16 | value) & 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
            value = (value >> 32 | value) & 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
            value = (value >> 64 | value) & type(uint128).max;
        }
    }

    function _word(uint256 pos) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(pos)
        }
    }
}
