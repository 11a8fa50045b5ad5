// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBytes} from "solady/utils/LibBytes.sol";

import {MeasurementId} from "../types/Attestation.sol";
import {Tee} from "./Collateral.sol";
import {PlatformTcb} from "./PlatformTcb.sol";

/// @notice Where the parts of a trimmed quote are, counted from the start of the evidence.
/// @param quote The header; it and the body are what the attestation key signed.
/// @param body The report of the enclave or trust domain.
/// @param bodyEnd Where what is signed ends.
/// @param signature The attestation key's signature, 64 bytes, and after it that key, 64 bytes.
/// @param qe The report of the quoting enclave, and after it the PCK's signature; zero in the short form.
struct QuoteLayout {
    uint256 tee;
    uint256 quote;
    uint256 body;
    uint256 bodyEnd;
    uint256 signature;
    uint256 qe;
}

/// @title Quote
/// @notice Takes trimmed DCAP quotes apart: SGX of version 3, TDX of versions 4 and 5 (TD 1.0 and 1.5).
/// @dev The length of the evidence tells what it is. Every byte that no signature covers is compared with the one value
/// that it may have, so that each quote has one form.
///
///     evidence: | PCK id 32 | quote, to the end of the QE's data |
///     or, with a cached attestation key: | quote, to that key |
///     v3:    | header 48 |                    | report 384    | n 4 | signature 64 | key 64 |              | QE |
///     v4:    | header 48 |                    | TD report 584 | n 4 | signature 64 | key 64 | 6: 2 | n: 4 | QE |
///     v5:    | header 48 | type 2 | length 4  | TD report 584 or 648, then as v4
///     QE:    | report 384 | signature 64 | 32: 2 | data 32 |
library Quote {
    uint256 private constant HEADER_BYTES = 48;
    uint256 private constant BODY_DESCRIPTOR_BYTES = 6;
    uint256 private constant SGX_BYTES = 384;
    uint256 private constant TD10_BYTES = 584;
    uint256 private constant TD15_BYTES = 648;
    uint256 private constant SIGNATURE_AND_KEY_BYTES = 128;
    uint256 private constant QE_BYTES = 384 + 64 + 2 + 32;
    uint256 private constant PCK_ID_BYTES = 32;

    /// @dev Version, type of the attestation key (2: ECDSA over P-256), TEE; little-endian.
    bytes8 private constant SGX_3 = 0x0300020000000000;
    bytes8 private constant TDX_4 = 0x0400020081000000;
    bytes8 private constant TDX_5 = 0x0500020081000000;
    /// @dev Type (2: TD 1.0, 3: TD 1.5) and length of the body; little-endian.
    bytes6 private constant TD10 = 0x020048020000;
    bytes6 private constant TD15 = 0x030088020000;
    /// @dev Type (6: QE report) and length (`QE_BYTES`) of the certification data; little-endian.
    bytes6 private constant QE_REPORT = 0x0600e2010000;
    /// @dev Length of the QE's authentication data; little-endian.
    bytes2 private constant QE_DATA_LENGTH = 0x2000;
    bytes16 private constant INTEL_QE_VENDOR = 0x939a7233f79c4ca9940a0db3957f0607;

    uint256 private constant SGX_DEBUG = 0x02;
    /// @dev Of the eight bytes of TD attributes: the first, TUD, says that the TD can be looked into.
    uint64 private constant TD_UNDER_DEBUG = 0xff00000000000000;
    uint64 private constant TD_RESERVED = 0x00ffff2fffffff7f;
    uint64 private constant TD_SEPT_VE_DISABLE = 0x0000001000000000;

    bytes32 private constant SGX_DOMAIN = keccak256("Adyton SGX measurement v1");
    bytes32 private constant TDX_DOMAIN = keccak256("Adyton TDX measurement v1");

    error EvidenceLengthUnknown(uint256 length);
    error HeaderUnsupported(bytes8 expected, bytes8 actual);
    error QeVendorUnknown(bytes16 vendor);
    error BodyUnsupported(bytes6 expected, bytes6 actual);
    error LengthWordWrong(bytes4 expected, bytes4 actual);
    error CertificationDataWrong(bytes6 expected, bytes6 actual);
    error QeDataLengthWrong(bytes2 expected, bytes2 actual);
    error DebugEnclave();
    error DebugTd(uint64 attributes);
    error TdAttributesReserved(uint64 attributes);
    error SeptVeDisableOff(uint64 attributes);
    error ServiceTdNotZero();

    /// @notice Finds the parts of `evidence`, and checks all that is not signed, and the header.
    function split(bytes calldata evidence) internal pure returns (QuoteLayout memory parts) {
        (bytes8 header, bytes6 descriptor, uint256 bodyLength, bool isShort) = _kind(evidence.length);
        parts.tee = header == SGX_3 ? Tee.SGX : Tee.TDX;
        parts.quote = isShort ? 0 : PCK_ID_BYTES;

        bytes32 word = LibBytes.loadCalldata(evidence, parts.quote);
        require(bytes8(word) == header, HeaderUnsupported(header, bytes8(word)));
        bytes16 vendor = bytes16(LibBytes.loadCalldata(evidence, parts.quote + 12));
        require(vendor == INTEL_QE_VENDOR, QeVendorUnknown(vendor));
        parts.body = parts.quote + HEADER_BYTES;
        if (descriptor != 0) {
            bytes6 actual = bytes6(LibBytes.loadCalldata(evidence, parts.body));
            require(actual == descriptor, BodyUnsupported(descriptor, actual));
            parts.body += BODY_DESCRIPTOR_BYTES;
        }
        parts.bodyEnd = parts.body + bodyLength;
        parts.signature = parts.bodyEnd + 4;

        bytes4 length = _littleEndian(evidence.length - parts.signature);
        bytes4 lengthWord = bytes4(LibBytes.loadCalldata(evidence, parts.bodyEnd));
        require(lengthWord == length, LengthWordWrong(length, lengthWord));
        if (!isShort) parts.qe = _qe(evidence, parts);
    }

    /// @notice What is compared with TCB info, as far as the quote says it.
    function platformTcb(QuoteLayout memory self, bytes calldata evidence)
        internal
        pure
        returns (PlatformTcb memory tcb)
    {
        if (self.tee == Tee.SGX) return tcb;
        tcb.teeTcbSvn = uint128(bytes16(LibBytes.loadCalldata(evidence, self.body)));
        tcb.moduleSigner = uint128(bytes16(LibBytes.loadCalldata(evidence, self.body + 64)));
        tcb.moduleSignerRest = LibBytes.loadCalldata(evidence, self.body + 80);
        tcb.moduleAttributes = uint64(bytes8(LibBytes.loadCalldata(evidence, self.body + 112)));
    }

    /// @notice Checks that nobody can look into the enclave or trust domain.
    /// @return measurement Names its build.
    /// @return reportData The first 32 bytes that it chose.
    /// @return reportDataTail The other 32.
    function read(QuoteLayout memory self, bytes calldata evidence)
        internal
        pure
        returns (MeasurementId measurement, bytes32 reportData, bytes32 reportDataTail)
    {
        bytes calldata body = evidence[self.body:self.bodyEnd];
        uint256 reportDataAt;
        if (self.tee == Tee.SGX) {
            require(uint8(body[48]) & SGX_DEBUG == 0, DebugEnclave());
            measurement = MeasurementId.wrap(
                keccak256(
                    abi.encodePacked(
                        SGX_DOMAIN,
                        body[16:20], // MISCSELECT
                        body[32:56], // ISVEXTPRODID, attributes without XFRM
                        body[64:96], // MRENCLAVE
                        body[128:160], // MRSIGNER
                        body[192:262], // CONFIGID, ISVPRODID, ISVSVN, CONFIGSVN
                        body[304:320] // ISVFAMILYID
                    )
                )
            );
            reportDataAt = 320;
        } else {
            _checkTd(body);
            measurement = MeasurementId.wrap(keccak256(abi.encodePacked(TDX_DOMAIN, body[120:520])));
            reportDataAt = 520;
        }
        reportData = LibBytes.loadCalldata(body, reportDataAt);
        reportDataTail = LibBytes.loadCalldata(body, reportDataAt + 32);
    }

    function _checkTd(bytes calldata body) private pure {
        uint64 attributes = uint64(bytes8(LibBytes.loadCalldata(body, 120)));
        require(attributes & TD_UNDER_DEBUG == 0, DebugTd(attributes));
        require(attributes & TD_RESERVED == 0, TdAttributesReserved(attributes));
        require(attributes & TD_SEPT_VE_DISABLE != 0, SeptVeDisableOff(attributes));
        if (body.length == TD15_BYTES) {
            // TEE_TCB_SVN_2, then MR_SERVICE_TD: 48 bytes, to the end.
            bytes32 first = LibBytes.loadCalldata(body, TD15_BYTES - 48);
            bytes32 last = LibBytes.loadCalldata(body, TD15_BYTES - 32);
            require(first | last == 0, ServiceTdNotZero());
        }
    }

    function _kind(uint256 length)
        private
        pure
        returns (bytes8 header, bytes6 descriptor, uint256 bodyLength, bool isShort)
    {
        uint256 short = HEADER_BYTES + 4 + SIGNATURE_AND_KEY_BYTES;
        uint256 full = PCK_ID_BYTES + short + QE_BYTES;
        if (length == short + SGX_BYTES) return (SGX_3, 0, SGX_BYTES, true);
        if (length == full + SGX_BYTES) return (SGX_3, 0, SGX_BYTES, false);
        full += 6;
        if (length == short + TD10_BYTES) return (TDX_4, 0, TD10_BYTES, true);
        if (length == full + TD10_BYTES) return (TDX_4, 0, TD10_BYTES, false);
        (short, full) = (short + BODY_DESCRIPTOR_BYTES, full + BODY_DESCRIPTOR_BYTES);
        if (length == short + TD10_BYTES) return (TDX_5, TD10, TD10_BYTES, true);
        if (length == full + TD10_BYTES) return (TDX_5, TD10, TD10_BYTES, false);
        if (length == short + TD15_BYTES) return (TDX_5, TD15, TD15_BYTES, true);
        require(length == full + TD15_BYTES, EvidenceLengthUnknown(length));
        return (TDX_5, TD15, TD15_BYTES, false);
    }

    function _qe(bytes calldata evidence, QuoteLayout memory parts) private pure returns (uint256 pos) {
        pos = parts.signature + SIGNATURE_AND_KEY_BYTES;
        if (parts.tee == Tee.TDX) {
            bytes6 actual = bytes6(LibBytes.loadCalldata(evidence, pos));
            require(actual == QE_REPORT, CertificationDataWrong(QE_REPORT, actual));
            pos += 6;
        }
        bytes2 length = bytes2(LibBytes.loadCalldata(evidence, pos + 448));
        require(length == QE_DATA_LENGTH, QeDataLengthWrong(QE_DATA_LENGTH, length));
    }

    /// @dev `value` < 65,536 in the four bytes of a length word.
    function _littleEndian(uint256 value) private pure returns (bytes4) {
        return bytes4(uint32((value & 0xff) << 24 | (value >> 8) << 16));
    }
}
