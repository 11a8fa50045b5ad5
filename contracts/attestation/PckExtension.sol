// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBytes} from "solady/utils/LibBytes.sol";

import {Der} from "./Der.sol";

/// @notice What Intel's SGX extension says of the platform.
/// @param ppid Names the processor package, 16 bytes.
/// @param cpuSvn The 16 component SVNs, the first one highest.
struct PlatformDescription {
    uint256 ppid;
    uint256 pceId;
    uint256 fmspc;
    uint256 cpuSvn;
    uint256 pceSvn;
}

/// @title PckExtension
/// @notice Reads the SGX extension of PCK certificates (Intel SGX PCK Certificate and Certificate Revocation List
/// Profile Specification, 1.3.5).
library PckExtension {
    using Der for bytes;

    /// @dev OBJECT IDENTIFIER of ten bytes, up to the last: 1.2.840.113741.1.13.1.x
    bytes11 private constant MEMBER = 0x060a2a864886f84d010d01;
    /// @dev SEQUENCE, its length left out, OBJECT IDENTIFIER of eleven bytes, the last left out:
    /// 1.2.840.113741.1.13.1.2.x
    uint256 private constant TCB_MEMBER = 0x3000060b2a864886f84d010d010200;
    uint256 private constant MEMBER_BYTES = 12;
    uint256 private constant TCB_MEMBER_BYTES = 15;

    uint256 private constant PPID = 1;
    uint256 private constant TCB = 2;
    uint256 private constant PCE_ID = 3;
    uint256 private constant FMSPC = 4;
    uint256 private constant REQUIRED = 1 << PPID | 1 << TCB | 1 << PCE_ID | 1 << FMSPC;
    uint256 private constant COMPONENTS = 16;
    uint256 private constant PCE_SVN = 17;
    uint256 private constant CPU_SVN = 18;

    error SgxExtensionMalformed(uint256 pos);

    /// @notice Reads the extension's value, which lies from `pos` to `limit`.
    function read(bytes calldata der, uint256 pos, uint256 limit)
        internal
        pure
        returns (PlatformDescription memory platform)
    {
        uint256 end;
        (pos, end) = der.open(pos, limit, Der.SEQUENCE);
        require(end == limit, SgxExtensionMalformed(end));
        uint256 seen;
        while (pos < end) {
            (uint256 member, uint256 memberEnd) = der.open(pos, end, Der.SEQUENCE);
            require(member + MEMBER_BYTES <= memberEnd, SgxExtensionMalformed(member));
            bytes32 word = LibBytes.loadCalldata(der, member);
            require(bytes11(word) == MEMBER, SgxExtensionMalformed(member));
            uint256 id = uint8(word[MEMBER_BYTES - 1]);
            require(seen >> id & 1 == 0, SgxExtensionMalformed(member));
            seen |= 1 << id;

            uint256 value = member + MEMBER_BYTES;
            uint256 valueEnd = memberEnd;
            if (id == PPID) (platform.ppid, valueEnd) = der.octets(value, memberEnd, 16);
            else if (id == TCB) valueEnd = _readTcb(der, value, memberEnd, platform);
            else if (id == PCE_ID) (platform.pceId, valueEnd) = der.octets(value, memberEnd, 2);
            else if (id == FMSPC) (platform.fmspc, valueEnd) = der.octets(value, memberEnd, 6);
            require(valueEnd == memberEnd, SgxExtensionMalformed(value));
            pos = memberEnd;
        }
        require(seen & REQUIRED == REQUIRED, SgxExtensionMalformed(end));
    }

    /// @dev Sixteen component SVNs, the PCE's SVN and the CPU SVN, in this order.
    function _readTcb(bytes calldata der, uint256 pos, uint256 limit, PlatformDescription memory platform)
        private
        pure
        returns (uint256 end)
    {
        (pos, end) = der.open(pos, limit, Der.SEQUENCE);
        uint256 svns;
        uint256 value;
        for (uint256 expected = 1; expected < CPU_SVN; ++expected) {
            (value, pos) = der.unsigned(_tcbMember(der, pos, end, expected), end);
            require(value <= (expected == PCE_SVN ? type(uint16).max : type(uint8).max), SgxExtensionMalformed(pos));
            if (expected != PCE_SVN) svns = svns << 8 | value;
        }
        (platform.cpuSvn, platform.pceSvn) = (svns, value);
        (, pos) = der.octets(_tcbMember(der, pos, end, CPU_SVN), end, COMPONENTS);
        require(pos == end, SgxExtensionMalformed(pos));
    }

    /// @dev Checks that at `pos` is SEQUENCE { OBJECT IDENTIFIER 1.2.840.113741.1.13.1.2.`id`, one more element }.
    /// @return value Where that element begins. It ends where the sequence ends.
    function _tcbMember(bytes calldata der, uint256 pos, uint256 limit, uint256 id)
        private
        pure
        returns (uint256 value)
    {
        unchecked {
            uint256 word = uint256(LibBytes.loadCalldata(der, pos)) >> 136;
            value = pos + TCB_MEMBER_BYTES;
            uint256 length = word >> 104 & 0xff;
            bool isMember = word & ~(uint256(0xff) << 104) == TCB_MEMBER | id;
            // The element has a short length too: the sequence's tells the same as its.
            uint256 inner = uint256(LibBytes.loadCalldata(der, value)) >> 240 & 0xff;
            require(
                isMember && inner < 0x80 && length == inner + TCB_MEMBER_BYTES && pos + 2 + length <= limit,
                SgxExtensionMalformed(pos)
            );
        }
    }
}
