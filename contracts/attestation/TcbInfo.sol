// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {CollateralText, Tee} from "./Collateral.sol";
import {Json, Reader} from "./Json.sol";
import {PackedWriter, PackedWriterLibrary} from "./PackedWriter.sol";
import {SvnLevels} from "./SvnLevels.sol";
import {LevelText, TcbLevels} from "./TcbLevels.sol";

/// @title TcbInfo
/// @notice Reads Intel's TCB info, version 3, into what `PlatformTcb` compares quotes with.
/// @dev Packed:
///
///     | length of modules 2 | TDX modules | platform levels, best first |
///     module: | name 2 | length of the rest 2 | hash 32 | attribute mask 8 | levels, see `SvnLevels` |
///     level:  | SGX component SVNs 16 | TDX component SVNs 16, if TDX | PCE SVN 2 | in common, see `TcbLevels` |
///
/// A module's name is the last two characters of its identifier, "03" of "TDX_03"; that of the first TDX modules, which
/// have no identifier, is zero. Its hash is that of its signer's measurement and its attributes.
library TcbInfo {
    using TcbLevels for LevelText;

    struct Text {
        uint256 seen;
        uint256 tee;
        uint256 fmspc;
        uint256 pceId;
        PackedWriter modules;
        PackedWriter levels;
        uint256 count;
        uint256 countWithTdx;
    }

    struct Components {
        uint256 sgx;
        uint256 tdx;
        uint256 pceSvn;
        uint256 seen;
    }

    uint256 private constant SEEN_ID = 0x001;
    uint256 private constant SEEN_VERSION = 0x002;
    uint256 private constant SEEN_ISSUE_DATE = 0x004;
    uint256 private constant SEEN_NEXT_UPDATE = 0x008;
    uint256 private constant SEEN_FMSPC = 0x010;
    uint256 private constant SEEN_PCE_ID = 0x020;
    uint256 private constant SEEN_TYPE = 0x040;
    uint256 private constant SEEN_EVALUATION = 0x080;
    uint256 private constant SEEN_LEVELS = 0x100;
    uint256 private constant SEEN_MODULE = 0x200;
    uint256 private constant SEEN_IDENTITIES = 0x400;
    uint256 private constant REQUIRED = 0x1ff;

    uint256 private constant SEEN_SGX = 1;
    uint256 private constant SEEN_PCE_SVN = 2;
    uint256 private constant SEEN_TDX = 4;
    uint256 private constant REQUIRED_COMPONENTS = SEEN_SGX | SEEN_PCE_SVN;

    uint256 private constant SEEN_SIGNER = 1;
    uint256 private constant SEEN_ATTRIBUTES = 2;
    uint256 private constant SEEN_MASK = 4;
    uint256 private constant SEEN_MODULE_ID = 8;
    uint256 private constant SEEN_MODULE_LEVELS = 16;
    uint256 private constant REQUIRED_OF_MODULE = 7;
    uint256 private constant REQUIRED_OF_IDENTITY = 31;

    uint256 private constant VERSION = 3;
    uint256 private constant COMPONENT_COUNT = 16;

    error IdUnknown(bytes32 id);
    error VersionUnsupported(uint256 expected, uint256 actual);
    error TcbTypeUnsupported(uint256 actual);
    error ComponentsWrong(uint256 expected, uint256 actual);
    error TdxComponentsWrong(uint256 levels, uint256 levelsWithTdx);

    /// @notice Reads `json`, the text of the member `tcbInfo` as published.
    function parse(bytes calldata json) internal pure returns (CollateralText memory document) {
        Reader memory reader = Json.reader(json);
        Text memory text;
        text.modules = PackedWriterLibrary.create(json.length);
        text.levels = PackedWriterLibrary.create(json.length);
        for (bool more = reader.open("{", "}"); more; more = reader.next("}")) {
            bytes32 name = reader.key();
            if (!_readHead(document, text, reader, name) && !_readBody(text, reader, name)) reader.skip();
        }
        reader.finish();

        bool isTdx = text.tee == Tee.TDX;
        uint256 required = isTdx ? REQUIRED | SEEN_MODULE : REQUIRED;
        require(text.seen & required == required, TcbLevels.MembersMissing(text.seen, required));
        require(
            text.count != 0 && text.countWithTdx == (isTdx ? text.count : 0),
            TdxComponentsWrong(text.count, text.countWithTdx)
        );
        document.subject = Tee.platform(text.fmspc, text.pceId, text.tee);
        bytes memory modules = text.modules.finish();
        document.content = abi.encodePacked(uint16(modules.length), modules, text.levels.finish());
    }

    function _see(Text memory text, uint256 member, bytes32 name) private pure {
        require(text.seen & member == 0, TcbLevels.MemberRepeated(name));
        text.seen |= member;
    }

    function _readHead(CollateralText memory document, Text memory text, Reader memory reader, bytes32 name)
        private
        pure
        returns (bool)
    {
        if (name == "id") {
            _see(text, SEEN_ID, name);
            (bytes32 id,) = reader.text();
            require(id == "SGX" || id == "TDX", IdUnknown(id));
            text.tee = id == "TDX" ? Tee.TDX : Tee.SGX;
        } else if (name == "version") {
            _see(text, SEEN_VERSION, name);
            uint256 version = reader.number(type(uint32).max);
            require(version == VERSION, VersionUnsupported(VERSION, version));
        } else if (name == "issueDate") {
            _see(text, SEEN_ISSUE_DATE, name);
            document.issueDate = reader.date();
        } else if (name == "nextUpdate") {
            _see(text, SEEN_NEXT_UPDATE, name);
            document.nextUpdate = reader.date();
        } else if (name == "fmspc") {
            _see(text, SEEN_FMSPC, name);
            text.fmspc = reader.hexadecimal(6);
        } else if (name == "pceId") {
            _see(text, SEEN_PCE_ID, name);
            text.pceId = reader.hexadecimal(2);
        } else if (name == "tcbType") {
            _see(text, SEEN_TYPE, name);
            uint256 tcbType = reader.number(type(uint32).max);
            require(tcbType == 0, TcbTypeUnsupported(tcbType));
        } else if (name == "tcbEvaluationDataNumber") {
            _see(text, SEEN_EVALUATION, name);
            document.evaluationNumber = reader.number(type(uint32).max);
        } else {
            return false;
        }
        return true;
    }

    function _readBody(Text memory text, Reader memory reader, bytes32 name) private pure returns (bool) {
        if (name == "tcbLevels") {
            _see(text, SEEN_LEVELS, name);
            _readLevels(text, reader);
        } else if (name == "tdxModule") {
            _see(text, SEEN_MODULE, name);
            _readModule(text.modules, reader, REQUIRED_OF_MODULE);
        } else if (name == "tdxModuleIdentities") {
            _see(text, SEEN_IDENTITIES, name);
            for (bool more = reader.open("[", "]"); more; more = reader.next("]")) {
                _readModule(text.modules, reader, REQUIRED_OF_IDENTITY);
            }
        } else {
            return false;
        }
        return true;
    }

    function _readLevels(Text memory text, Reader memory reader) private pure {
        uint256[] memory dates = new uint256[](TcbLevels.MAX_LEVELS);
        Components memory previous =
            Components({sgx: type(uint256).max, tdx: type(uint256).max, pceSvn: type(uint256).max, seen: 0});
        for (bool more = reader.open("[", "]"); more; more = reader.next("]")) {
            LevelText memory level;
            Components memory components;
            for (bool moreOf = reader.open("{", "}"); moreOf; moreOf = reader.next("}")) {
                bytes32 name = reader.key();
                if (name == "tcb") {
                    level.see(TcbLevels.SEEN_TCB, name);
                    components = _readTcb(reader);
                } else if (!level.readMember(reader, name)) {
                    reader.skip();
                }
            }
            // The first level that matches is taken, so a better one must not come later.
            require(_isInOrder(previous, components), SvnLevels.LevelsUnordered(text.count));
            previous = components;

            text.levels.put(components.sgx, 16);
            if (components.seen & SEEN_TDX != 0) {
                text.levels.put(components.tdx, 16);
                ++text.countWithTdx;
            }
            text.levels.put(components.pceSvn, 2);
            level.write(text.levels, dates, text.count++);
        }
    }

    /// @dev Whether levels may follow each other, in Intel's order: by SGX components, PCE SVN, TDX components.
    function _isInOrder(Components memory a, Components memory b) private pure returns (bool) {
        if (a.sgx != b.sgx) return a.sgx > b.sgx;
        if (a.pceSvn != b.pceSvn) return a.pceSvn > b.pceSvn;
        return a.tdx >= b.tdx;
    }

    function _readTcb(Reader memory reader) private pure returns (Components memory components) {
        for (bool more = reader.open("{", "}"); more; more = reader.next("}")) {
            bytes32 name = reader.key();
            uint256 member = name == "sgxtcbcomponents"
                ? SEEN_SGX
                : name == "tdxtcbcomponents" ? SEEN_TDX : name == "pcesvn" ? SEEN_PCE_SVN : 0;
            require(components.seen & member == 0, TcbLevels.MemberRepeated(name));
            components.seen |= member;
            if (member == SEEN_SGX) components.sgx = _readComponents(reader);
            else if (member == SEEN_TDX) components.tdx = _readComponents(reader);
            else if (member == SEEN_PCE_SVN) components.pceSvn = reader.number(type(uint16).max);
            else reader.skip();
        }
        require(
            components.seen & REQUIRED_COMPONENTS == REQUIRED_COMPONENTS,
            TcbLevels.MembersMissing(components.seen, REQUIRED_COMPONENTS)
        );
    }

    /// @dev An array of sixteen objects with the member `svn`.
    function _readComponents(Reader memory reader) private pure returns (uint256 packed) {
        unchecked {
            uint256 count;
            for (bool more = reader.open("[", "]"); more; more = reader.next("]")) {
                bool seen;
                for (bool moreOf = reader.open("{", "}"); moreOf; moreOf = reader.next("}")) {
                    bytes32 name = reader.key();
                    if (name == "svn") {
                        require(!seen, TcbLevels.MemberRepeated(name));
                        seen = true;
                        packed = packed << 8 | reader.number(type(uint8).max);
                    } else {
                        reader.skip();
                    }
                }
                require(seen, TcbLevels.MembersMissing(0, 1));
                ++count;
            }
            require(count == COMPONENT_COUNT, ComponentsWrong(COMPONENT_COUNT, count));
        }
    }

    function _readModule(PackedWriter memory writer, Reader memory reader, uint256 required) private pure {
        uint256 seen;
        uint256 moduleName;
        uint256 attributes;
        uint256 mask;
        bytes memory signer;
        Reader memory levels;
        for (bool more = reader.open("{", "}"); more; more = reader.next("}")) {
            bytes32 name = reader.key();
            uint256 member = _moduleMember(name) & required;
            require(seen & member == 0, TcbLevels.MemberRepeated(name));
            seen |= member;
            if (member == SEEN_SIGNER) {
                signer = reader.hexadecimal48();
            } else if (member == SEEN_ATTRIBUTES) {
                attributes = reader.hexadecimal(8);
            } else if (member == SEEN_MASK) {
                mask = reader.hexadecimal(8);
            } else if (member == SEEN_MODULE_ID) {
                moduleName = _moduleName(reader);
            } else {
                uint256 start = reader.pos;
                reader.skip();
                // Levels come after the rest; they are read below.
                if (member == SEEN_MODULE_LEVELS) (levels.pos, levels.end) = (start, reader.pos);
            }
        }
        require(seen == required, TcbLevels.MembersMissing(seen, required));

        writer.put(moduleName, 2);
        uint256 lengthAt = writer.reserve(2);
        writer.put(uint256(keccak256(abi.encodePacked(signer, uint64(attributes & mask)))), 32);
        writer.put(mask, 8);
        if (levels.end != 0) SvnLevels.pack(levels, writer);
        writer.fill(lengthAt, writer.pos - lengthAt - 2);
    }

    function _moduleMember(bytes32 name) private pure returns (uint256) {
        if (name == "mrsigner") return SEEN_SIGNER;
        if (name == "attributes") return SEEN_ATTRIBUTES;
        if (name == "attributesMask") return SEEN_MASK;
        if (name == "id") return SEEN_MODULE_ID;
        if (name == "tcbLevels") return SEEN_MODULE_LEVELS;
        return 0;
    }

    function _moduleName(Reader memory reader) private pure returns (uint256) {
        (bytes32 id, uint256 length) = reader.text();
        require(length == 6 && bytes4(id) == "TDX_", IdUnknown(id));
        return uint16(bytes2(id << 32));
    }
}
