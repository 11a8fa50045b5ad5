// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EfficientHashLib} from "solady/utils/EfficientHashLib.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";

import {Collateral, DocumentView, IDcapVerifier, IssuerView, PckView} from "../interfaces/IDcapVerifier.sol";
import {CollateralText, Tee} from "./Collateral.sol";
import {CollateralParser} from "./CollateralParser.sol";
import {Crl, RevocationList} from "./Crl.sol";
import {PlatformDescription} from "./PckExtension.sol";
import {Pck, PckRecord} from "./PckRecord.sol";
import {Certificate, Role} from "./X509.sol";

/// @title DcapCollateral
/// @notice Caches what quotes are verified with: certificates, revocation lists, TCB info, QE identities.
/// @dev Invariants Q1 to Q9 are in docs/INVARIANTS.md. Every entry point has one shape: who signed it, is that one still
/// trusted, is it valid now, is it newer than what is known; then it is kept. `CollateralParser` reads all but
/// revocation lists.
abstract contract DcapCollateral is IDcapVerifier {
    /// @dev An authority or a TCB signer.
    /// @param subject Hash of the name: what it issues must name it.
    struct Issuer {
        uint256 x;
        uint256 y;
        bytes32 subject;
        uint256 serial;
        uint256 notAfter;
    }

    /// @param content Where it is kept; see `Crl`, or `TcbInfo` and `QeIdentity`, there after the signer's serial (20
    /// bytes). A revocation list of none is not kept.
    struct Document {
        address content;
        uint32 issuedAt;
        uint32 validUntil;
        uint32 number;
    }

    /// @param content Where it is kept: of a PCK see `PckRecord`; of an issuer key, hash of the name and serial.
    struct KeySlot {
        address content;
        uint32 notBefore;
        uint32 validUntil;
    }

    /// @inheritdoc IDcapVerifier
    bytes32 public immutable ROOT_X;
    /// @inheritdoc IDcapVerifier
    bytes32 public immutable ROOT_Y;

    /// @dev The signer's serial, before the content of TCB info or QE identity.
    uint256 internal constant SERIAL_BYTES = 20;

    CollateralParser private immutable PARSER;

    mapping(bytes32 => KeySlot) private _authorities;
    mapping(bytes32 => KeySlot) private _signers;
    mapping(bytes32 => KeySlot) internal _pcks;
    Document internal _rootCrl;
    mapping(bytes32 => Document) internal _pckCrls;
    mapping(uint256 => Document) internal _tcbInfos;
    mapping(uint256 => Document) internal _qeIdentities;

    constructor(bytes32 rootX, bytes32 rootY) {
        (ROOT_X, ROOT_Y) = (rootX, rootY);
        PARSER = new CollateralParser();
        emit RootTrusted(rootX, rootY);
    }

    /* ----------------------------------------------- certificates -------------------------------------------- */

    /// @inheritdoc IDcapVerifier
    function addCertificateAuthority(bytes calldata der) external returns (bytes32 caId) {
        caId = _addIssuer(_authorities, der, Role.PckAuthority);
        emit CertificateAuthorityAdded(caId, _authorities[caId].validUntil);
    }

    /// @inheritdoc IDcapVerifier
    function addTcbSigner(bytes calldata der) external returns (bytes32 signerId) {
        signerId = _addIssuer(_signers, der, Role.TcbSigner);
        emit TcbSignerAdded(signerId, _signers[signerId].validUntil);
    }

    /// @inheritdoc IDcapVerifier
    function addPck(bytes calldata der, bytes32 caId) external returns (bytes32 pckId) {
        // 1. The authority is still trusted.
        Issuer memory authority = _authority(caId);

        // 2. It signed a certificate that is valid now and made out for a PCK. Whether that was revoked is asked each
        // time that a quote is verified.
        (Certificate memory certificate, PlatformDescription memory platform) =
            PARSER.readPck(der, authority.x, authority.y);
        require(certificate.issuer == authority.subject, IssuerNameMismatch(authority.subject, certificate.issuer));

        // 3. Newer than what is known of the key, or good for longer: its authority's certificate was renewed.
        pckId = _keyId(certificate.x, certificate.y);
        KeySlot storage slot = _pcks[pckId];
        uint256 known = slot.notBefore;
        uint256 validUntil = _min(certificate.notAfter, authority.notAfter);
        require(
            certificate.notBefore > known || (certificate.notBefore == known && validUntil > slot.validUntil),
            NotNewer(known, certificate.notBefore)
        );

        Pck memory record = Pck({
            x: certificate.x,
            y: certificate.y,
            caId: caId,
            serial: certificate.serial,
            caSerial: authority.serial,
            ppid: platform.ppid,
            cpuSvn: platform.cpuSvn,
            pceSvn: platform.pceSvn,
            fmspc: platform.fmspc,
            pceId: platform.pceId,
            validUntil: validUntil
        });
        slot.content = record.write();
        (slot.notBefore, slot.validUntil) = (uint32(certificate.notBefore), uint32(record.validUntil));
        emit PckAdded(pckId, record.platform(), caId, uint48(platform.fmspc), uint16(platform.pceId));
    }

    function _addIssuer(mapping(bytes32 => KeySlot) storage issuers, bytes calldata der, Role role)
        private
        returns (bytes32 id)
    {
        Certificate memory certificate = PARSER.readCertificate(der, role, uint256(ROOT_X), uint256(ROOT_Y));
        _refuseRevokedByRoot(certificate.serial);
        id = _keyId(certificate.x, certificate.y);
        KeySlot storage slot = issuers[id];
        uint256 known = slot.notBefore;
        require(certificate.notBefore > known, NotNewer(known, certificate.notBefore));
        slot.content = SSTORE2.write(
            abi.encodePacked(certificate.x, certificate.y, certificate.subject, uint160(certificate.serial))
        );
        (slot.notBefore, slot.validUntil) = (uint32(certificate.notBefore), uint32(certificate.notAfter));
    }

    /* ------------------------------------------------ collateral --------------------------------------------- */

    /// @inheritdoc IDcapVerifier
    function refreshRootCrl(bytes calldata der) external {
        RevocationList memory list = Crl.read(der, uint256(ROOT_X), uint256(ROOT_Y));
        _replaceCrl(_rootCrl, list, _keyId(uint256(ROOT_X), uint256(ROOT_Y)));
    }

    /// @inheritdoc IDcapVerifier
    function refreshPckCrl(bytes32 caId, bytes calldata der) external {
        Issuer memory authority = _authority(caId);
        RevocationList memory list = Crl.read(der, authority.x, authority.y);
        require(list.issuer == authority.subject, IssuerNameMismatch(authority.subject, list.issuer));
        _replaceCrl(_pckCrls[caId], list, caId);
    }

    /// @inheritdoc IDcapVerifier
    function refreshTcbInfo(bytes calldata json, bytes calldata signature, bytes32 signerId) external {
        Issuer memory signer = _signer(signerId);
        CollateralText memory text = PARSER.readTcbInfo(json, signature, signer.x, signer.y);
        _replace(_tcbInfos[text.subject], text, signer);
        emit TcbInfoRefreshed(
            uint48(text.subject >> 24),
            uint16(text.subject >> 8),
            uint8(text.subject),
            uint64(text.issueDate),
            uint64(text.nextUpdate),
            uint32(text.evaluationNumber)
        );
    }

    /// @inheritdoc IDcapVerifier
    function refreshQeIdentity(bytes calldata json, bytes calldata signature, bytes32 signerId) external {
        Issuer memory signer = _signer(signerId);
        CollateralText memory text = PARSER.readQeIdentity(json, signature, signer.x, signer.y);
        _replace(_qeIdentities[text.subject], text, signer);
        emit QeIdentityRefreshed(
            uint8(text.subject), uint64(text.issueDate), uint64(text.nextUpdate), uint32(text.evaluationNumber)
        );
    }

    function _replace(Document storage document, CollateralText memory text, Issuer memory signer) private {
        require(text.issueDate <= block.timestamp, DocumentNotYetValid(text.issueDate));
        require(block.timestamp <= text.nextUpdate, DocumentExpired(text.nextUpdate));
        Document memory known = document;
        // INVARIANT: collateral goes forward only.
        require(text.issueDate > known.issuedAt, NotNewer(known.issuedAt, text.issueDate));
        require(text.evaluationNumber >= known.number, EvaluationNumberLower(known.number, text.evaluationNumber));
        address content = _keep(known.content, abi.encodePacked(uint160(signer.serial), text.content));
        document.content = content;
        document.issuedAt = uint32(text.issueDate);
        document.validUntil = uint32(_min(text.nextUpdate, signer.notAfter));
        document.number = uint32(text.evaluationNumber);
    }

    function _replaceCrl(Document storage document, RevocationList memory list, bytes32 issuerId) private {
        Document memory known = document;
        // INVARIANT: collateral goes forward only.
        require(list.thisUpdate > known.issuedAt, NotNewer(known.issuedAt, list.thisUpdate));
        uint256 count = list.serials.length / SERIAL_BYTES;
        address content = count == 0 ? address(0) : _keep(known.content, list.serials);
        document.content = content;
        document.issuedAt = uint32(list.thisUpdate);
        document.validUntil = uint32(list.nextUpdate);
        document.number = uint32(count);
        emit CrlRefreshed(issuerId, uint64(list.thisUpdate), uint64(list.nextUpdate), count);
    }

    /// @dev Writes `data`, unless it is what is kept already: most documents change in their dates only.
    function _keep(address known, bytes memory data) private returns (address) {
        if (known != address(0) && known.codehash == keccak256(abi.encodePacked(bytes1(0), data))) return known;
        return SSTORE2.write(data);
    }

    /* ------------------------------------------------- trust ------------------------------------------------- */

    /// @dev What is cached of an authority, which must be neither expired nor revoked.
    function _authority(bytes32 caId) private view returns (Issuer memory) {
        KeySlot memory slot = _authorities[caId];
        require(slot.content != address(0), CertificateAuthorityUnknown(caId));
        return _issuer(slot, caId);
    }

    /// @dev What is cached of a TCB signer, which must be neither expired nor revoked.
    function _signer(bytes32 signerId) private view returns (Issuer memory) {
        KeySlot memory slot = _signers[signerId];
        require(slot.content != address(0), TcbSignerUnknown(signerId));
        return _issuer(slot, signerId);
    }

    function _issuer(KeySlot memory slot, bytes32 id) private view returns (Issuer memory issuer) {
        issuer.notAfter = slot.validUntil;
        require(block.timestamp <= issuer.notAfter, IssuerExpired(id, issuer.notAfter));
        bytes memory packed = SSTORE2.read(slot.content);
        issuer.x = uint256(LibBytes.load(packed, 0));
        issuer.y = uint256(LibBytes.load(packed, 32));
        issuer.subject = LibBytes.load(packed, 64);
        issuer.serial = uint256(LibBytes.load(packed, 96)) >> 96;
        _refuseRevokedByRoot(issuer.serial);
    }

    function _refuseRevokedByRoot(uint256 serial) private view {
        Document memory crl = _current(_rootCrl, Collateral.RootCrl);
        _refuseRevoked(crl.content, Collateral.RootCrl, serial);
    }

    /// @dev What is cached of a document, which must not have expired. One that never was there expired in 1970.
    function _current(Document storage slot, Collateral kind) internal view returns (Document memory document) {
        document = slot;
        require(block.timestamp <= document.validUntil, CollateralNotCurrent(kind, document.validUntil));
    }

    function _refuseRevoked(address list, Collateral kind, uint256 serial) internal view {
        require(!Crl.lists(list, serial), SerialRevoked(kind, serial));
    }

    function _keyId(uint256 x, uint256 y) private pure returns (bytes32) {
        return EfficientHashLib.hash(x, y);
    }

    function _min(uint256 a, uint256 b) internal pure returns (uint256) {
        return a < b ? a : b;
    }

    /* -------------------------------------------------- views ------------------------------------------------ */

    /// @inheritdoc IDcapVerifier
    function certificateAuthority(bytes32 caId) external view returns (IssuerView memory) {
        return _view(_authorities[caId]);
    }

    /// @inheritdoc IDcapVerifier
    function tcbSigner(bytes32 signerId) external view returns (IssuerView memory) {
        return _view(_signers[signerId]);
    }

    /// @inheritdoc IDcapVerifier
    function pck(bytes32 pckId) external view returns (PckView memory) {
        KeySlot memory slot = _pcks[pckId];
        require(slot.content != address(0), PckUnknown(pckId));
        Pck memory record = PckRecord.read(slot.content);
        return PckView({
            caId: record.caId,
            platform: record.platform(),
            serial: uint160(record.serial),
            cpuSvn: uint128(record.cpuSvn),
            pceSvn: uint16(record.pceSvn),
            fmspc: uint48(record.fmspc),
            pceId: uint16(record.pceId),
            notBefore: slot.notBefore,
            validUntil: slot.validUntil
        });
    }

    /// @inheritdoc IDcapVerifier
    function rootCrl() external view returns (DocumentView memory) {
        return _view(_rootCrl);
    }

    /// @inheritdoc IDcapVerifier
    function pckCrl(bytes32 caId) external view returns (DocumentView memory) {
        return _view(_pckCrls[caId]);
    }

    /// @inheritdoc IDcapVerifier
    function tcbInfo(uint48 fmspc, uint16 pceId, uint8 tee) external view returns (DocumentView memory) {
        return _view(_tcbInfos[Tee.platform(fmspc, pceId, tee)]);
    }

    /// @inheritdoc IDcapVerifier
    function qeIdentity(uint8 tee) external view returns (DocumentView memory) {
        return _view(_qeIdentities[tee]);
    }

    function _view(KeySlot storage slot) private view returns (IssuerView memory found) {
        if (slot.content == address(0)) return found;
        found.serial = uint160(bytes20(LibBytes.load(SSTORE2.read(slot.content), 96)));
        (found.notBefore, found.notAfter) = (slot.notBefore, slot.validUntil);
    }

    function _view(Document storage document) private view returns (DocumentView memory) {
        return DocumentView({issuedAt: document.issuedAt, validUntil: document.validUntil, number: document.number});
    }
}
