// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {CollateralText, Tee} from "./Collateral.sol";
import {Json, Reader} from "./Json.sol";
import {PackedWriter, PackedWriterLibrary} from "./PackedWriter.sol";
import {SvnLevels} from "./SvnLevels.sol";
import {TcbInfo} from "./TcbInfo.sol";
import {TcbLevels} from "./TcbLevels.sol";

/// @title QeIdentity
/// @notice Reads Intel's identity of a quoting enclave into what quotes are compared with.
/// @dev Packed; the bytes of a report are in the order in which the report has them:
///
///     | MISCSELECT 4 | its mask 4 | attributes 16 | their mask 16 | MRSIGNER 32 | ISVPRODID 2 | levels, see `SvnLevels` |
library QeIdentity {
    struct Text {
        uint256 seen;
        uint256 tee;
        uint256 version;
        uint256 miscSelect;
        uint256 miscSelectMask;
        uint256 attributes;
        uint256 attributesMask;
        uint256 signer;
        uint256 productId;
        Reader levels;
    }

    uint256 private constant REQUIRED = 0xfff;
    uint256 private constant VERSION = 2;

    /// @notice Reads `json`, the text of the member `enclaveIdentity` as published.
    function parse(bytes calldata json) internal pure returns (CollateralText memory document) {
        Reader memory reader = Json.reader(json);
        Text memory text;
        for (bool more = reader.open("{", "}"); more; more = reader.next("}")) {
            bytes32 name = reader.key();
            uint256 member = _member(name);
            require(text.seen & member == 0, TcbLevels.MemberRepeated(name));
            text.seen |= member;
            if (member < 0x020) _readHead(document, text, reader, member);
            else _readBody(text, reader, member);
        }
        reader.finish();
        require(text.seen == REQUIRED, TcbLevels.MembersMissing(text.seen, REQUIRED));
        require(text.version == VERSION, TcbInfo.VersionUnsupported(VERSION, text.version));
        document.subject = text.tee;
        document.content = _pack(text, json.length);
    }

    function _pack(Text memory text, uint256 capacity) private pure returns (bytes memory) {
        PackedWriter memory writer = PackedWriterLibrary.create(capacity);
        writer.put(text.miscSelect, 4);
        writer.put(text.miscSelectMask, 4);
        writer.put(text.attributes, 16);
        writer.put(text.attributesMask, 16);
        writer.put(text.signer, 32);
        writer.put(text.productId, 2);
        SvnLevels.pack(text.levels, writer);
        return writer.finish();
    }

    /// @return The member's bit; zero if it is none that is read.
    function _member(bytes32 name) private pure returns (uint256) {
        if (name == "id") return 0x001;
        if (name == "version") return 0x002;
        if (name == "issueDate") return 0x004;
        if (name == "nextUpdate") return 0x008;
        if (name == "tcbEvaluationDataNumber") return 0x010;
        if (name == "miscselect") return 0x020;
        if (name == "miscselectMask") return 0x040;
        if (name == "attributes") return 0x080;
        if (name == "attributesMask") return 0x100;
        if (name == "mrsigner") return 0x200;
        if (name == "isvprodid") return 0x400;
        if (name == "tcbLevels") return 0x800;
        return 0;
    }

    function _readHead(CollateralText memory document, Text memory text, Reader memory reader, uint256 member)
        private
        pure
    {
        if (member == 0x001) {
            (bytes32 id,) = reader.text();
            require(id == "QE" || id == "TD_QE", TcbInfo.IdUnknown(id));
            text.tee = id == "TD_QE" ? Tee.TDX : Tee.SGX;
        } else if (member == 0x002) {
            text.version = reader.number(type(uint32).max);
        } else if (member == 0x004) {
            document.issueDate = reader.date();
        } else if (member == 0x008) {
            document.nextUpdate = reader.date();
        } else if (member == 0x010) {
            document.evaluationNumber = reader.number(type(uint32).max);
        } else {
            reader.skip();
        }
    }

    function _readBody(Text memory text, Reader memory reader, uint256 member) private pure {
        if (member == 0x020) {
            text.miscSelect = reader.hexadecimal(4);
        } else if (member == 0x040) {
            text.miscSelectMask = reader.hexadecimal(4);
        } else if (member == 0x080) {
            text.attributes = reader.hexadecimal(16);
        } else if (member == 0x100) {
            text.attributesMask = reader.hexadecimal(16);
        } else if (member == 0x200) {
            text.signer = reader.hexadecimal(32);
        } else if (member == 0x400) {
            text.productId = reader.number(type(uint16).max);
        } else {
            // Levels come after the rest; they are packed at the end.
            text.levels.pos = reader.pos;
            reader.skip();
            text.levels.end = reader.pos;
        }
    }
}
