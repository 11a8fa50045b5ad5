// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBytes} from "solady/utils/LibBytes.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";

/// @notice What is kept of a PCK, the key that certifies the quoting enclaves of one platform.
/// @param caId The authority that certified it.
/// @param ppid Names the machine, together with `pceId`.
/// @param validUntil When (unix) the first of its certificate and its authority's expires.
struct Pck {
    uint256 x;
    uint256 y;
    bytes32 caId;
    uint256 ppid;
    uint256 serial;
    uint256 caSerial;
    uint256 cpuSvn;
    uint256 pceSvn;
    uint256 fmspc;
    uint256 pceId;
    uint256 validUntil;
}

using PckRecord for Pck global;

/// @title PckRecord
/// @notice Keeps PCKs as the code of contracts, which is the cheapest to read.
/// @dev Packed:
///
///     | x 32 | y 32 | authority 32 | serial 20 | authority's serial 20 | PPID 16 |
///     | CPU SVN 16 | PCE SVN 2 | FMSPC 6 | PCE id 2 | valid until, unix s 4 |
library PckRecord {
    function write(Pck memory self) internal returns (address) {
        return SSTORE2.write(
            abi.encodePacked(
                self.x,
                self.y,
                self.caId,
                uint160(self.serial),
                uint160(self.caSerial),
                uint128(self.ppid),
                uint128(self.cpuSvn),
                uint16(self.pceSvn),
                uint48(self.fmspc),
                uint16(self.pceId),
                uint32(self.validUntil)
            )
        );
    }

    function read(address pointer) internal view returns (Pck memory self) {
        bytes memory packed = SSTORE2.read(pointer);
        self.x = uint256(LibBytes.load(packed, 0));
        self.y = uint256(LibBytes.load(packed, 32));
        self.caId = LibBytes.load(packed, 64);
        self.serial = uint256(LibBytes.load(packed, 96)) >> 96;
        self.caSerial = uint256(LibBytes.load(packed, 116)) >> 96;
        self.ppid = uint256(LibBytes.load(packed, 136)) >> 128;
        uint256 rest = uint256(LibBytes.load(packed, 150)); // to the end: 2 bytes of the PPID, then 30
        self.validUntil = uint32(rest);
        self.pceId = uint16(rest >> 32);
        self.fmspc = uint48(rest >> 48);
        self.pceSvn = uint16(rest >> 96);
        self.cpuSvn = uint128(rest >> 112);
    }

    /// @notice The machine, by a name that survives the recovery of its TCB.
    function platform(Pck memory self) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint128(self.ppid), uint16(self.pceId)));
    }
}
