// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice Bytes under construction.
/// @param start Where they are in memory.
/// @param pos Where the next one goes.
/// @param end What `pos` must not pass.
struct PackedWriter {
    uint256 start;
    uint256 pos;
    uint256 end;
}

using PackedWriterLibrary for PackedWriter global;

/// @title PackedWriterLibrary
/// @notice Packs numbers into bytes.
library PackedWriterLibrary {
    error PackedTooLong(uint256 limit);

    function create(uint256 capacity) internal pure returns (PackedWriter memory self) {
        // A word more than asked for: each number is written as a word.
        bytes memory room = new bytes(capacity + 32);
        uint256 start;
        assembly ("memory-safe") {
            start := add(room, 0x20)
        }
        (self.start, self.pos, self.end) = (start, start, start + capacity);
    }

    /// @notice Appends `value` as a number of `size` bytes, at most 32.
    function put(PackedWriter memory self, uint256 value, uint256 size) internal pure {
        if (size == 0) return;
        uint256 pos = self.pos;
        require(pos + size <= self.end, PackedTooLong(self.end - self.start));
        uint256 word = value << (256 - 8 * size);
        assembly ("memory-safe") {
            mstore(pos, word)
        }
        self.pos = pos + size;
    }

    /// @notice Leaves out `size` bytes, to be filled in by `fill`.
    /// @return pos Where they are.
    function reserve(PackedWriter memory self, uint256 size) internal pure returns (uint256 pos) {
        pos = self.pos;
        put(self, 0, size);
    }

    /// @notice Fills in two bytes that were reserved.
    function fill(PackedWriter memory, uint256 pos, uint256 value) internal pure {
        assembly ("memory-safe") {
            mstore8(pos, shr(8, value))
            mstore8(add(pos, 1), value)
        }
    }

    /// @notice The bytes so far. Ends the construction.
    function finish(PackedWriter memory self) internal pure returns (bytes memory packed) {
        (uint256 start, uint256 pos) = (self.start, self.pos);
        assembly ("memory-safe") {
            packed := sub(start, 0x20)
            mstore(packed, sub(pos, start))
            // The last number was written as a whole word.
            mstore(pos, 0)
        }
    }
}
