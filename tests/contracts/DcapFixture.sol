// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Deployment} from "./Deployment.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";

import {IDcapVerifier} from "contracts/interfaces/IDcapVerifier.sol";
import {AdvisorySet} from "contracts/types/AdvisorySet.sol";
import {Attestation, MeasurementId} from "contracts/types/Attestation.sol";
import {TcbStatus} from "contracts/types/TcbStatus.sol";

/// @notice A DCAP verifier under the development root, with a development machine's evidence from tests/vectors. The keys
/// of that root are public, so tests sign whatever an attacker could only wish to have signed.
abstract contract DcapFixture is Deployment {
    /// @dev One case of tests/vectors/dcap.json.
    struct Machine {
        uint256 now_;
        bytes32 rootX;
        bytes32 rootY;
        uint256 rootKey;
        uint256 authorityKey;
        uint256 signerKey;
        uint256 pckKey;
        uint256 attestationKey;
        bytes root;
        bytes authority;
        bytes signer;
        bytes pck;
        bytes32 authorityId;
        bytes32 signerId;
        bytes32 pckId;
        bytes rootCrl;
        bytes pckCrl;
        bytes tcbInfo;
        bytes tcbInfoSignature;
        bytes qeIdentity;
        bytes qeIdentitySignature;
        bytes evidence;
        bytes shortEvidence;
    }

    /// @dev Where the parts of `Machine.evidence` are.
    struct Parts {
        uint256 body;
        uint256 bodyEnd;
        uint256 signature;
        uint256 qe;
    }

    uint256 internal constant SGX = 0;
    uint256 internal constant TDX_4 = 1;
    uint256 internal constant TDX_5 = 2;
    uint256 internal constant TDX_5_TD15 = 3;
    uint256 internal constant PROCESSOR = 4;
    uint256 internal constant OUT_OF_DATE = 7;
    uint256 internal constant CASES = 9;

    uint256 internal constant P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
    uint256 internal constant QUOTE = 32; // the header begins after the PCK's id

    string private json;
    /// @dev Reading JSON takes long, so each case is read once, by `setUp` for fuzz tests.
    mapping(uint256 => Machine) private machines;
    /// @dev By case, a verifier that `setUp` prepared, until `_prepared` gives it away.
    mapping(uint256 => IDcapVerifier) private inReserve;
    IDcapVerifier internal verifier;

    function setUp() public virtual {
        _readVectors();
        for (uint256 index = SGX; index <= TDX_4; ++index) {
            _prepare(_machine(index));
            inReserve[index] = verifier;
        }
        verifier = IDcapVerifier(address(0));
    }

    /* ------------------------------------------------- vectors ----------------------------------------------- */

    function _readVectors() internal {
        json = vm.readFile("tests/vectors/dcap.json");
    }

    function _key(uint256 index, string memory name) internal pure returns (string memory) {
        return string.concat(".cases[", vm.toString(index), "].", name);
    }

    function _bytes(uint256 index, string memory name) internal view returns (bytes memory) {
        return vm.parseJsonBytes(json, _key(index, name));
    }

    function _word(uint256 index, string memory name) internal view returns (bytes32) {
        return vm.parseJsonBytes32(json, _key(index, name));
    }

    function _uint(uint256 index, string memory name) internal view returns (uint256) {
        return vm.parseJsonUint(json, _key(index, name));
    }

    function _text(uint256 index, string memory name) internal view returns (bytes memory) {
        return bytes(vm.parseJsonString(json, _key(index, name)));
    }

    function _machine(uint256 index) internal returns (Machine memory) {
        if (machines[index].now_ == 0) _load(index);
        return machines[index];
    }

    function _load(uint256 i) private {
        Machine memory m;
        (m.now_, m.rootX, m.rootY) = (_uint(i, "now"), _word(i, "rootX"), _word(i, "rootY"));
        (m.rootKey, m.authorityKey, m.signerKey) =
        (_uint(i, "rootKey"), _uint(i, "authorityKey"), _uint(i, "signerKey"));
        (m.pckKey, m.attestationKey) = (_uint(i, "pckKey"), _uint(i, "attestationKey"));
        (m.root, m.authority) = (_bytes(i, "root"), _bytes(i, "authority"));
        (m.signer, m.pck) = (_bytes(i, "signer"), _bytes(i, "pck"));
        (m.authorityId, m.signerId) = (_word(i, "authorityId"), _word(i, "signerId"));
        m.pckId = _word(i, "pckId");
        (m.rootCrl, m.pckCrl) = (_bytes(i, "rootCrl"), _bytes(i, "pckCrl"));
        (m.tcbInfo, m.tcbInfoSignature) = (_text(i, "tcbInfo"), _bytes(i, "tcbInfoSignature"));
        (m.qeIdentity, m.qeIdentitySignature) = (_text(i, "qeIdentity"), _bytes(i, "qeIdentitySignature"));
        (m.evidence, m.shortEvidence) = (_bytes(i, "evidence"), _bytes(i, "shortEvidence"));
        machines[i] = m;
    }

    /// @dev What a verifier must find in the case's evidence.
    function _expected(uint256 i) internal view returns (Attestation memory) {
        return Attestation({
            measurement: MeasurementId.wrap(_word(i, "measurement")),
            reportData: _word(i, "reportData"),
            platform: _word(i, "platform"),
            validUntil: uint64(_uint(i, "validUntil")),
            status: TcbStatus(_uint(i, "status")),
            evaluationNumber: uint32(_uint(i, "evaluationNumber")),
            outOfDateSince: uint64(_uint(i, "outOfDateSince")),
            advisories: AdvisorySet.wrap(_uint(i, "advisories")),
            reportDataTail: 0
        });
    }

    /* ------------------------------------------------ collateral --------------------------------------------- */

    function _deployVerifier(bytes32 rootX, bytes32 rootY) internal returns (IDcapVerifier) {
        return IDcapVerifier(_deploy("DcapVerifier", abi.encode(rootX, rootY)));
    }

    /// @dev A verifier that has the issuers and the root's revocation list of a machine, and nothing else.
    function _deploy(Machine memory m) internal {
        vm.warp(m.now_);
        verifier = _deployVerifier(m.rootX, m.rootY);
        verifier.refreshRootCrl(m.rootCrl);
        verifier.addCertificateAuthority(m.authority);
        verifier.addTcbSigner(m.signer);
    }

    /// @dev A verifier that has all that a machine's quotes need.
    function _prepare(Machine memory m) internal {
        _deploy(m);
        verifier.refreshPckCrl(m.authorityId, m.pckCrl);
        verifier.addPck(m.pck, m.authorityId);
        verifier.refreshTcbInfo(m.tcbInfo, m.tcbInfoSignature, m.signerId);
        verifier.refreshQeIdentity(m.qeIdentity, m.qeIdentitySignature, m.signerId);
    }

    /// @dev Each call gives another verifier.
    function _prepared(uint256 index) internal returns (Machine memory m) {
        m = _machine(index);
        if (address(inReserve[index]) == address(0)) {
            _prepare(m);
        } else {
            vm.warp(m.now_);
            verifier = inReserve[index];
            delete inReserve[index];
        }
    }

    /// @dev Signs `text` as Intel would, and brings it.
    function _bringTcbInfo(Machine memory m, bytes memory text) internal {
        bytes memory signature = _sign(m.signerKey, text);
        verifier.refreshTcbInfo(text, signature, m.signerId);
    }

    function _bringQeIdentity(Machine memory m, bytes memory text) internal {
        bytes memory signature = _sign(m.signerKey, text);
        verifier.refreshQeIdentity(text, signature, m.signerId);
    }

    /// @dev `text` with its first occurrence of `needle` replaced; there must be one.
    function _swap(bytes memory text, bytes memory needle, bytes memory replacement)
        internal
        pure
        returns (bytes memory)
    {
        uint256 here = LibBytes.indexOf(text, needle);
        require(here != LibBytes.NOT_FOUND, "nothing to replace");
        return bytes.concat(
            LibBytes.slice(text, 0, here), replacement, LibBytes.slice(text, here + needle.length, text.length)
        );
    }

    /* ------------------------------------------------- signing ----------------------------------------------- */

    /// @dev r, s over SHA-256, with low s.
    function _sign(uint256 key, bytes memory message) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(key, sha256(message));
        if (uint256(s) > P256_ORDER / 2) s = bytes32(P256_ORDER - uint256(s));
        return abi.encodePacked(r, s);
    }

    function _keyId(uint256 key) internal pure returns (bytes32) {
        (uint256 x, uint256 y) = vm.publicKeyP256(key);
        return keccak256(abi.encode(x, y));
    }

    /// @dev What is signed of a certificate or revocation list.
    function _signedPart(bytes memory der) internal pure returns (bytes memory) {
        // SEQUENCE with a length of two bytes, in a SEQUENCE with a length of two bytes; or of one.
        uint256 start = der[1] == 0x82 ? 4 : der[1] == 0x81 ? 3 : 2;
        uint256 length = der[start + 1] == 0x82
            ? 4 + (uint256(uint8(der[start + 2])) << 8 | uint8(der[start + 3]))
            : der[start + 1] == 0x81 ? 3 + uint256(uint8(der[start + 2])) : 2 + uint256(uint8(der[start + 1]));
        return LibBytes.slice(der, start, start + length);
    }

    /// @dev A certificate or revocation list around `content`, signed by `key`.
    function _wrap(uint256 key, bytes memory content) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(key, sha256(content));
        bytes memory pair = _tlv(0x30, bytes.concat(_integer(uint256(r)), _integer(uint256(s))));
        bytes memory signature = _tlv(0x03, bytes.concat(hex"00", pair));
        return _tlv(0x30, bytes.concat(content, hex"300a06082a8648ce3d040302", signature));
    }

    /// @dev The certificate with a change to what is signed of it, signed again.
    function _forge(uint256 key, bytes memory der, bytes memory needle, bytes memory replacement)
        internal
        pure
        returns (bytes memory)
    {
        require(needle.length == replacement.length, "lengths would be wrong");
        return _wrap(key, _swap(_signedPart(der), needle, replacement));
    }

    function _tlv(bytes1 tag, bytes memory content) internal pure returns (bytes memory) {
        uint256 length = content.length;
        bytes memory head = length < 0x80
            ? abi.encodePacked(uint8(length))
            : length < 0x100 ? abi.encodePacked(hex"81", uint8(length)) : abi.encodePacked(hex"82", uint16(length));
        return abi.encodePacked(tag, head, content);
    }

    function _integer(uint256 value) internal pure returns (bytes memory) {
        bytes memory content = abi.encodePacked(value);
        uint256 zeros;
        while (zeros < 31 && content[zeros] == 0) ++zeros;
        content = LibBytes.slice(content, zeros, 32);
        return _tlv(0x02, uint8(content[0]) >= 0x80 ? bytes.concat(hex"00", content) : content);
    }

    /* -------------------------------------------------- quotes ----------------------------------------------- */

    function _parts(bytes memory evidence) internal pure returns (Parts memory p) {
        uint256 length = evidence.length;
        p.body = QUOTE + 48 + (length > 1284 ? 6 : 0);
        p.bodyEnd = p.body + (length == 1078 ? 384 : length == 1354 ? 648 : 584);
        p.signature = p.bodyEnd + 4;
        p.qe = p.signature + 128 + (length == 1078 ? 0 : 6);
    }

    function _put(bytes memory data, uint256 place, bytes memory value) internal pure {
        for (uint256 i; i < value.length; ++i) {
            data[place + i] = value[i];
        }
    }

    /// @dev Header and body signed again by the attestation key.
    function _resign(Machine memory m) internal pure {
        Parts memory p = _parts(m.evidence);
        _put(m.evidence, p.signature, _sign(m.attestationKey, LibBytes.slice(m.evidence, QUOTE, p.bodyEnd)));
    }

    /// @dev The QE's report signed again by the PCK.
    function _resignQe(Machine memory m) internal pure {
        Parts memory p = _parts(m.evidence);
        _put(m.evidence, p.qe + 384, _sign(m.pckKey, LibBytes.slice(m.evidence, p.qe, p.qe + 384)));
    }

    function _refuse(bytes memory evidence, bytes memory cause) internal {
        vm.expectRevert(cause);
        verifier.verify(evidence);
    }

    function _refuse(bytes memory evidence, bytes4 cause) internal {
        vm.expectPartialRevert(cause);
        verifier.verify(evidence);
    }
}
