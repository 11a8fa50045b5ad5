// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Reader} from "./Json.sol";
import {PackedWriter} from "./PackedWriter.sol";
import {LevelText, TcbLevel, TcbLevels} from "./TcbLevels.sol";

/// @title SvnLevels
/// @notice Reads, packs and finds the levels of what has one security version number: TDX modules and quoting enclaves.
/// @dev Packed, one after the other, best first:
///
///     | isvsvn 2 | what all levels have in common, see `TcbLevels` |
library SvnLevels {
    using TcbLevels for LevelText;

    uint256 private constant SVN_BYTES = 2;

    error LevelsUnordered(uint256 index);
    error LevelsMissing();
    error NoLevelMatches(uint256 svn);

    /// @notice Packs the array that is all that `reader` reads.
    function pack(Reader memory reader, PackedWriter memory writer) internal pure {
        uint256[] memory dates = new uint256[](TcbLevels.MAX_LEVELS);
        uint256 count;
        uint256 previous = type(uint256).max;
        for (bool more = reader.open("[", "]"); more; more = reader.next("]")) {
            LevelText memory level;
            uint256 svn = _readLevel(reader, level);
            require(svn <= previous, LevelsUnordered(count));
            previous = svn;
            writer.put(svn, SVN_BYTES);
            level.write(writer, dates, count++);
        }
        require(count != 0, LevelsMissing());
        reader.finish();
    }

    /// @notice The first level, of those packed in memory from `pos` to `end`, that `svn` reaches.
    function find(uint256 pos, uint256 end, uint256 svn) internal pure returns (TcbLevel memory) {
        while (pos < end) {
            uint256 required;
            assembly ("memory-safe") {
                required := shr(240, mload(pos))
            }
            pos += SVN_BYTES;
            if (svn >= required) return TcbLevels.read(pos);
            pos = TcbLevels.skip(pos);
        }
        revert NoLevelMatches(svn);
    }

    function _readLevel(Reader memory reader, LevelText memory level) private pure returns (uint256 svn) {
        for (bool more = reader.open("{", "}"); more; more = reader.next("}")) {
            bytes32 name = reader.key();
            if (name == "tcb") {
                level.see(TcbLevels.SEEN_TCB, name);
                svn = _readTcb(reader);
            } else if (!level.readMember(reader, name)) {
                reader.skip();
            }
        }
    }

    function _readTcb(Reader memory reader) private pure returns (uint256 svn) {
        bool seen;
        for (bool more = reader.open("{", "}"); more; more = reader.next("}")) {
            bytes32 name = reader.key();
            if (name == "isvsvn") {
                require(!seen, TcbLevels.MemberRepeated(name));
                (seen, svn) = (true, reader.number(type(uint16).max));
            } else {
                reader.skip();
            }
        }
        require(seen, TcbLevels.MembersMissing(0, 1));
    }
}
