// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBytes} from "solady/utils/LibBytes.sol";
import {LibSort} from "solady/utils/LibSort.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";

import {Der} from "./Der.sol";
import {SignedDer} from "./SignedDer.sol";
import {X509} from "./X509.sol";

/// @notice What is read of a revocation list.
/// @param issuer Hash of the issuer's name.
/// @param serials The revoked serial numbers, ascending, 20 bytes each.
struct RevocationList {
    bytes32 issuer;
    uint256 thisUpdate;
    uint256 nextUpdate;
    bytes serials;
}

/// @title Crl
/// @notice Reads X.509 revocation lists, and looks serial numbers up in what is kept of them.
library Crl {
    using Der for bytes;

    /// @dev INTEGER 1, which says version 2.
    bytes3 private constant VERSION_2 = 0x020101;
    uint256 private constant SERIAL_BYTES = 20;
    /// @dev As many as fit into the code of a contract.
    uint256 private constant MAX_SERIALS = 1_228;
    /// @dev What an entry's DER takes at least: INTEGER and UTCTime in a SEQUENCE.
    uint256 private constant MIN_ENTRY_BYTES = 20;

    error CrlUnsupported(uint256 pos);
    error CrlTooLong(uint256 serials);
    error CrlNotYetValid(uint256 thisUpdate);
    error CrlExpired(uint256 nextUpdate);

    /// @notice Reads a list that the key (x, y) signed and that is valid now. It must be complete: extensions that make
    /// it less than that are critical, and refused.
    function read(bytes calldata der, uint256 x, uint256 y) internal view returns (RevocationList memory list) {
        (uint256 pos, uint256 end) = SignedDer.open(der, x, y);
        require(pos + 3 <= end && bytes3(der[pos:pos + 3]) == VERSION_2, CrlUnsupported(pos));
        pos = SignedDer.algorithm(der, pos + 3, end);
        (list.issuer, pos) = X509.name(der, pos, end);
        (list.thisUpdate, pos) = der.time(pos, end);
        (list.nextUpdate, pos) = der.time(pos, end);
        require(list.thisUpdate <= block.timestamp, CrlNotYetValid(list.thisUpdate));
        require(block.timestamp <= list.nextUpdate, CrlExpired(list.nextUpdate));

        (uint256 tag, uint256 start, uint256 next) = der.element(pos, end);
        if (tag == Der.SEQUENCE) {
            list.serials = _readSerials(der, start, next);
            pos = next;
        }
        (start, next) = der.open(pos, end, Der.CONTEXT_0);
        require(next == end, Der.DerMalformed(next));
        (start, next) = der.open(start, end, Der.SEQUENCE);
        require(next == end, Der.DerMalformed(next));
        _refuseCritical(der, start, end);
    }

    /// @notice Whether `serial` is in the list kept at `pointer`, if any.
    function lists(address pointer, uint256 serial) internal view returns (bool) {
        if (pointer == address(0)) return false;
        bytes memory serials = SSTORE2.read(pointer);
        uint256 low;
        uint256 high = serials.length / SERIAL_BYTES;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            uint256 found = uint256(LibBytes.load(serials, middle * SERIAL_BYTES)) >> (256 - 8 * SERIAL_BYTES);
            if (found == serial) return true;
            if (found < serial) low = middle + 1;
            else high = middle;
        }
        return false;
    }

    function _readSerials(bytes calldata der, uint256 pos, uint256 end) private pure returns (bytes memory packed) {
        uint256[] memory serials = new uint256[]((end - pos) / MIN_ENTRY_BYTES + 1);
        uint256 count;
        while (pos < end) {
            (uint256 entry, uint256 entryEnd) = der.open(pos, end, Der.SEQUENCE);
            (serials[count++], entry) = X509.serial(der, entry, entryEnd);
            entry = der.skipTime(entry, entryEnd);
            if (entry != entryEnd) {
                (uint256 extensions, uint256 next) = der.open(entry, entryEnd, Der.SEQUENCE);
                require(next == entryEnd, Der.DerMalformed(next));
                _refuseCritical(der, extensions, entryEnd);
            }
            pos = entryEnd;
        }
        require(count <= MAX_SERIALS, CrlTooLong(count));
        assembly ("memory-safe") {
            mstore(serials, count)
        }
        LibSort.sort(serials);
        packed = new bytes(count * SERIAL_BYTES + 32);
        for (uint256 i; i < count; ++i) {
            uint256 serial = serials[i] << (256 - 8 * SERIAL_BYTES);
            assembly ("memory-safe") {
                mstore(add(add(packed, 0x20), mul(i, SERIAL_BYTES)), serial)
            }
        }
        assembly ("memory-safe") {
            mstore(packed, mul(count, SERIAL_BYTES))
        }
    }

    function _refuseCritical(bytes calldata der, uint256 pos, uint256 limit) private pure {
        while (pos < limit) {
            (, bool critical,, uint256 end) = X509.extension(der, pos, limit);
            require(!critical, X509.ExtensionUnknown(pos));
            pos = end;
        }
    }
}
