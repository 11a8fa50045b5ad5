// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {AdvisorySet, AdvisorySetLibrary} from "../types/AdvisorySet.sol";
import {TcbStatus} from "../types/TcbStatus.sol";
import {Reader} from "./Json.sol";
import {PackedWriter} from "./PackedWriter.sol";

/// @notice What Intel says of a TCB level.
/// @param outOfDateSince When (unix) it fell out of date; zero if it has not.
struct TcbLevel {
    TcbStatus status;
    uint256 outOfDateSince;
    AdvisorySet advisories;
}

/// @notice What is read of a level besides its components.
/// @param isUnclear Whether its advisories are more than a set holds, or not understood.
struct LevelText {
    TcbStatus status;
    uint256 date;
    AdvisorySet advisories;
    bool isUnclear;
    uint256 seen;
}

/// @title TcbLevels
/// @notice Reads from JSON, packs and unpacks what all TCB levels have in common, those of platforms, TDX modules and
/// quoting enclaves alike.
/// @dev Packed, after the components:
///
///     | status 1 | out of date since, unix s 4 | number of advisories 1 | advisories 2 each, descending |
library TcbLevels {
    uint256 internal constant MAX_LEVELS = 64;
    uint256 private constant HEAD_BYTES = 6;
    uint256 private constant MAX_ADVISORIES = 16;
    /// @dev In place of a number of advisories. Such a level is refused when a platform matches it, and not before:
    /// otherwise one word that Intel invents tomorrow would make a document, and with it a model, unusable for good.
    uint256 private constant UNCLEAR = 0xff;

    uint256 internal constant SEEN_DATE = 1;
    uint256 internal constant SEEN_STATUS = 2;
    uint256 internal constant SEEN_ADVISORIES = 4;
    uint256 internal constant SEEN_TCB = 8;
    uint256 private constant REQUIRED = SEEN_DATE | SEEN_STATUS | SEEN_TCB;

    /// @dev INTEL-SA-00615 is 615, INTEL-DOC-10003 is 0x8003.
    bytes9 private constant ADVISORY_PREFIX = "INTEL-SA-";
    bytes11 private constant NOTICE_PREFIX = "INTEL-DOC-1";
    uint256 private constant ADVISORY_BYTES = 14;
    uint256 private constant NOTICE_BYTES = 15;
    uint256 private constant NOTICES = 0x8000;

    error MemberRepeated(bytes32 name);
    error MembersMissing(uint256 seen, uint256 required);
    error LevelUnclear();
    error TooManyLevels(uint256 limit);

    /// @notice Reads the member `name` of a level, if it is one that all levels have.
    /// @return Whether it was one; if not, nothing was read.
    function readMember(LevelText memory level, Reader memory reader, bytes32 name) internal pure returns (bool) {
        if (name == "tcbDate") {
            see(level, SEEN_DATE, name);
            level.date = reader.date();
        } else if (name == "tcbStatus") {
            see(level, SEEN_STATUS, name);
            level.status = _status(reader);
        } else if (name == "advisoryIDs") {
            see(level, SEEN_ADVISORIES, name);
            _readAdvisories(level, reader);
        } else {
            return false;
        }
        return true;
    }

    /// @notice Notes that a member was there, which it must not have been before.
    function see(LevelText memory level, uint256 member, bytes32 name) internal pure {
        require(level.seen & member == 0, MemberRepeated(name));
        level.seen |= member;
    }

    /// @notice Packs a level after its components. It comes after those whose dates are in `dates`, and adds its own.
    function write(LevelText memory level, PackedWriter memory writer, uint256[] memory dates, uint256 index)
        internal
        pure
    {
        require(level.seen & REQUIRED == REQUIRED, MembersMissing(level.seen, REQUIRED));
        require(index < MAX_LEVELS, TooManyLevels(MAX_LEVELS));
        dates[index] = level.date;
        writer.put(uint256(level.status), 1);
        writer.put(level.status.isOutOfDate() ? _outOfDateSince(dates, index) : 0, 4);
        if (level.isUnclear) {
            writer.put(UNCLEAR, 1);
        } else {
            uint256 count = _count(level.advisories);
            writer.put(count, 1);
            writer.put(AdvisorySet.unwrap(level.advisories), 2 * count);
        }
    }

    /// @notice Unpacks the level whose common part begins at `pos` in memory.
    function read(uint256 pos) internal pure returns (TcbLevel memory level) {
        uint256 word = _word(pos);
        level.status = TcbStatus(word >> 248);
        level.outOfDateSince = uint32(word >> 216);
        uint256 count = word >> 208 & 0xff;
        require(count != UNCLEAR, LevelUnclear());
        if (count != 0) level.advisories = AdvisorySet.wrap(_word(pos + HEAD_BYTES) >> (256 - 16 * count));
    }

    /// @return Where the level ends whose common part begins at `pos`.
    function skip(uint256 pos) internal pure returns (uint256) {
        uint256 count = _word(pos) >> 208 & 0xff;
        return pos + HEAD_BYTES + (count == UNCLEAR ? 0 : 2 * count);
    }

    /// @notice Takes a part of the same platform into account.
    function merge(TcbLevel memory self, TcbLevel memory part) internal pure {
        self.status = self.status.merge(part.status);
        self.advisories = self.advisories.union(part.advisories);
        uint256 since = part.outOfDateSince;
        if (since != 0 && (self.outOfDateSince == 0 || since < self.outOfDateSince)) self.outOfDateSince = since;
    }

    /// @dev The level fell out of date when the first of its betters came out that is newer.
    function _outOfDateSince(uint256[] memory dates, uint256 index) private pure returns (uint256 since) {
        uint256 own = dates[index];
        for (uint256 i; i < index; ++i) {
            if (dates[i] > own && (since == 0 || dates[i] < since)) since = dates[i];
        }
        if (since == 0) since = own;
    }

    function _count(AdvisorySet set) private pure returns (uint256 count) {
        for (uint256 rest = AdvisorySet.unwrap(set); rest != 0; rest >>= 16) {
            ++count;
        }
    }

    function _status(Reader memory reader) private pure returns (TcbStatus) {
        (bytes32 start, uint256 length) = reader.text();
        if (start == "UpToDate") return TcbStatus.UpToDate;
        if (start == "SWHardeningNeeded") return TcbStatus.SWHardeningNeeded;
        if (start == "ConfigurationNeeded") return TcbStatus.ConfigurationNeeded;
        // One byte longer than a word.
        if (start == "ConfigurationAndSWHardeningNeede" && length == 33 && reader.last() == "d") {
            return TcbStatus.ConfigurationAndSWHardeningNeeded;
        }
        if (start == "OutOfDate") return TcbStatus.OutOfDate;
        if (start == "OutOfDateConfigurationNeeded") return TcbStatus.OutOfDateConfigurationNeeded;
        // Also what is not understood; see `UNCLEAR`.
        return TcbStatus.Revoked;
    }

    function _readAdvisories(LevelText memory level, Reader memory reader) private pure {
        unchecked {
            uint256 packed;
            uint256 shift;
            uint256 last;
            for (bool more = reader.open("[", "]"); more; more = reader.next("]")) {
                uint256 number = _advisory(reader);
                if (number == 0) {
                    level.isUnclear = true;
                } else if (number > last && shift < 256) {
                    // Mostly they ascend.
                    packed |= number << shift;
                    shift += 16;
                    last = number;
                } else {
                    (AdvisorySet all, bool fits) = AdvisorySet.wrap(packed).tryUnion(AdvisorySet.wrap(number));
                    if (!fits) level.isUnclear = true;
                    else if (AdvisorySet.unwrap(all) != packed) (packed, shift) = (AdvisorySet.unwrap(all), shift + 16);
                }
            }
            level.advisories = AdvisorySet.wrap(packed);
        }
    }

    /// @dev The number of the advisory that follows; zero if it is not understood.
    function _advisory(Reader memory reader) private pure returns (uint256 number) {
        (bytes32 start, uint256 length) = reader.text();
        if (length == ADVISORY_BYTES && bytes9(start) == ADVISORY_PREFIX) {
            number = _digits(uint256(start) >> 144, 5);
            return number < NOTICES ? number : 0;
        }
        if (length == NOTICE_BYTES && bytes11(start) == NOTICE_PREFIX) {
            number = _digits(uint256(start) >> 136, 4);
            return number == type(uint256).max ? 0 : NOTICES + number;
        }
    }

    /// @dev The number that the lowest `count` characters of `digits` write; the largest number if they are no digits.
    function _digits(uint256 digits, uint256 count) private pure returns (uint256 number) {
        unchecked {
            uint256 factor = 1;
            for (uint256 i; i < count; ++i) {
                uint256 digit = digits & 0xff ^ 0x30;
                if (digit > 9) return type(uint256).max;
                number += digit * factor;
                factor *= 10;
                digits >>= 8;
            }
        }
    }

    function _word(uint256 pos) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(pos)
        }
    }
}
