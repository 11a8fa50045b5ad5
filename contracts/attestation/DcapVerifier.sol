// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EfficientHashLib} from "solady/utils/EfficientHashLib.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";

import {IAttestationVerifier} from "../interfaces/IAttestationVerifier.sol";
import {Collateral, IDcapVerifier} from "../interfaces/IDcapVerifier.sol";
import {Attestation} from "../types/Attestation.sol";
import {TcbStatus} from "../types/TcbStatus.sol";
import {CertifiedKey, CertifiedKeyLibrary} from "./CertifiedKey.sol";
import {Tee} from "./Collateral.sol";
import {DcapCollateral} from "./DcapCollateral.sol";
import {P256} from "./P256.sol";
import {Pck, PckRecord} from "./PckRecord.sol";
import {PlatformTcb} from "./PlatformTcb.sol";
import {Quote, QuoteLayout} from "./Quote.sol";
import {Sha256} from "./Sha256.sol";
import {SvnLevels} from "./SvnLevels.sol";
import {TcbLevel, TcbLevels} from "./TcbLevels.sol";

/// @title DcapVerifier
/// @notice Verifies Intel DCAP quotes against cached collateral; see `IDcapVerifier`.
/// @dev Invariants Q10 to Q18 are in docs/INVARIANTS.md. `verify` takes one of
///
///     | PCK id 32 | trimmed quote |           the quote up to the end of the QE's authentication data
///     | start of the quote |                  up to the attestation key, if `cacheAttestationKey` has seen that key
///
/// without certificates; `oracle/attestation/dcap/trim.py` makes both of a quote.
contract DcapVerifier is DcapCollateral {
    using Quote for QuoteLayout;
    using TcbLevels for TcbLevel;

    /// @dev What is known after the quoting enclave's part was checked.
    struct Chain {
        CertifiedKey key;
        Pck pck;
        TcbLevel level;
        uint256 validUntil;
        uint256 evaluationNumber;
        address rootRevocations;
    }

    /// @dev Of a packed QE identity, what does not change with its levels; see `QeIdentity`.
    uint256 private constant IDENTITY_BYTES = 74;
    uint256 private constant SGX_DEBUG = 0x02;

    mapping(bytes32 => CertifiedKey) private _attestationKeys;

    constructor(bytes32 rootX, bytes32 rootY) DcapCollateral(rootX, rootY) {}

    /// @inheritdoc IAttestationVerifier
    function verify(bytes calldata evidence) external view returns (Attestation memory attestation) {
        (attestation,) = _verify(evidence, Quote.split(evidence));
    }

    /// @inheritdoc IDcapVerifier
    function cacheAttestationKey(bytes calldata evidence) external returns (bytes32 keyId) {
        QuoteLayout memory parts = Quote.split(evidence);
        (, CertifiedKey key) = _verify(evidence, parts);
        keyId = _attestationKeyId(evidence, parts);
        _attestationKeys[keyId] = key;
        emit AttestationKeyCached(keyId, _pckId(key));
    }

    /// @inheritdoc IDcapVerifier
    function isAttestationKeyCached(bytes32 keyId) external view returns (bool) {
        return _attestationKeys[keyId].isKnown();
    }

    function _verify(bytes calldata evidence, QuoteLayout memory parts)
        private
        view
        returns (Attestation memory attestation, CertifiedKey key)
    {
        // 1. The quote is well-formed: by `parts`.
        Chain memory chain;

        // 2. A PCK that is known, or was when the attestation key was cached, of a platform that was not revoked.
        chain.key = parts.qe != 0 ? _newKey(evidence, parts) : _cachedKey(evidence, parts);
        chain.pck = PckRecord.read(chain.key.pck());
        _checkPck(chain);

        // 3. and 4. The PCK vouches for a quoting enclave, that for the attestation key; Intel knows the enclave.
        _checkQe(evidence, parts, chain);

        // 5. The attestation key signed header and body.
        _checkQuoteSignature(evidence, parts);

        // 6. The platform is at a level that is known.
        _checkTcb(evidence, parts, chain);

        // 7. Nobody can look into what runs there. What it is, the caller must judge.
        (attestation.measurement, attestation.reportData, attestation.reportDataTail) = parts.read(evidence);
        attestation.platform = chain.pck.platform();
        attestation.validUntil = uint64(chain.validUntil);
        attestation.status = chain.level.status;
        attestation.evaluationNumber = uint32(chain.evaluationNumber);
        attestation.outOfDateSince = uint64(chain.level.outOfDateSince);
        attestation.advisories = chain.level.advisories;
        key = chain.key;
    }

    /// @dev The key that the quote says it was signed by, not yet vouched for.
    function _newKey(bytes calldata evidence, QuoteLayout memory parts) private view returns (CertifiedKey) {
        bytes32 pckId = LibBytes.loadCalldata(evidence, 0);
        address record = _pcks[pckId].content;
        require(record != address(0), PckUnknown(pckId));
        uint256 word = uint256(LibBytes.loadCalldata(evidence, parts.qe + 256));
        uint256 svn = word >> 232 & 0xff | (word >> 224 & 0xff) << 8;
        return CertifiedKeyLibrary.pack(record, 0, svn, parts.tee);
    }

    function _cachedKey(bytes calldata evidence, QuoteLayout memory parts) private view returns (CertifiedKey key) {
        bytes32 keyId = _attestationKeyId(evidence, parts);
        key = _attestationKeys[keyId];
        require(key.isKnown(), AttestationKeyUnknown(keyId));
        require(key.tee() == parts.tee, AttestationKeyOfOtherTee(key.tee(), parts.tee));
    }

    function _checkPck(Chain memory chain) private view {
        Pck memory pck = chain.pck;
        require(block.timestamp <= pck.validUntil, PckExpired(pck.validUntil));
        Document memory pckCrl = _current(_pckCrls[pck.caId], Collateral.PckCrl);
        Document memory rootCrl = _current(_rootCrl, Collateral.RootCrl);
        _refuseRevoked(pckCrl.content, Collateral.PckCrl, pck.serial);
        _refuseRevoked(rootCrl.content, Collateral.RootCrl, pck.caSerial);
        chain.rootRevocations = rootCrl.content;
        chain.validUntil = _min(pck.validUntil, _min(pckCrl.validUntil, rootCrl.validUntil));
    }

    /// @dev Reads a document that must be current and whose signer must not be revoked.
    /// @return pos Where its content is in memory, without the signer's serial.
    /// @return end Where it ends.
    function _read(Document storage slot, Collateral kind, Chain memory chain)
        private
        view
        returns (uint256 pos, uint256 end)
    {
        Document memory document = _current(slot, kind);
        bytes memory packed = SSTORE2.read(document.content);
        uint256 signerSerial = uint256(LibBytes.load(packed, 0)) >> 96;
        _refuseRevoked(chain.rootRevocations, Collateral.RootCrl, signerSerial);
        chain.validUntil = _min(chain.validUntil, document.validUntil);
        chain.evaluationNumber =
            kind == Collateral.QeIdentity ? document.number : _min(chain.evaluationNumber, document.number);
        assembly ("memory-safe") {
            pos := add(packed, add(0x20, SERIAL_BYTES))
            end := add(add(packed, 0x20), mload(packed))
        }
    }

    function _checkQe(bytes calldata evidence, QuoteLayout memory parts, Chain memory chain) private view {
        (uint256 pos, uint256 end) = _read(_qeIdentities[parts.tee], Collateral.QeIdentity, chain);
        uint256 identity;
        assembly ("memory-safe") {
            identity := shr(192, keccak256(pos, IDENTITY_BYTES))
        }
        CertifiedKey key = chain.key;
        if (parts.qe == 0) {
            require(key.identity() == identity, QeIdentityMismatch(bytes32(identity), bytes32(key.identity())));
        } else {
            _checkQeSignature(evidence, parts, chain.pck);
            _checkQeReport(evidence, parts.qe, pos);
            chain.key = CertifiedKeyLibrary.pack(key.pck(), identity, key.qeSvn(), key.tee());
        }
        chain.level = SvnLevels.find(pos + IDENTITY_BYTES, end, key.qeSvn());
    }

    /// @dev The PCK signed the report, and the report names the attestation key.
    function _checkQeSignature(bytes calldata evidence, QuoteLayout memory parts, Pck memory pck) private view {
        uint256 qe = parts.qe;
        uint256 r = uint256(LibBytes.loadCalldata(evidence, qe + 384));
        uint256 s = uint256(LibBytes.loadCalldata(evidence, qe + 416));
        require(P256.isLow(s), QeReportSignatureMalleable());
        bytes32 hash = Sha256.ofSlice(evidence, qe, qe + 384);
        require(P256.isSignature(hash, r, s, pck.x, pck.y), QeReportSignatureWrong(LibBytes.loadCalldata(evidence, 0)));

        bytes32 bound =
            sha256(abi.encodePacked(evidence[parts.signature + 64:parts.signature + 128], evidence[qe + 450:qe + 482]));
        bytes32 actual = LibBytes.loadCalldata(evidence, qe + 320);
        require(actual == bound, AttestationKeyNotBound(bound, actual));
        bytes32 tail = LibBytes.loadCalldata(evidence, qe + 352);
        require(tail == 0, AttestationKeyNotBound(0, tail));
    }

    /// @dev The report is that of the quoting enclave whose packed identity is at `pos` in memory.
    function _checkQeReport(bytes calldata evidence, uint256 qe, uint256 pos) private pure {
        uint256 word = _word(pos);
        uint256 attributesWord = _word(pos + 8);
        uint256 miscSelect = uint256(LibBytes.loadCalldata(evidence, qe + 16)) >> 224;
        uint256 attributes = uint256(LibBytes.loadCalldata(evidence, qe + 48)) >> 128;
        require(attributes >> 120 & SGX_DEBUG == 0, QeInDebugMode());

        uint256 mask = word >> 192 & 0xffffffff;
        _requireSame(word >> 224 & mask, miscSelect & mask);
        mask = attributesWord & type(uint128).max;
        _requireSame(attributesWord >> 128 & mask, attributes & mask);
        _requireSame(_word(pos + 40), uint256(LibBytes.loadCalldata(evidence, qe + 128)));
        uint256 ids = uint256(LibBytes.loadCalldata(evidence, qe + 256));
        _requireSame(_word(pos + 72) >> 240, ids >> 248 | (ids >> 240 & 0xff) << 8);
    }

    function _requireSame(uint256 expected, uint256 actual) private pure {
        require(expected == actual, QeIdentityMismatch(bytes32(expected), bytes32(actual)));
    }

    function _checkQuoteSignature(bytes calldata evidence, QuoteLayout memory parts) private view {
        uint256 pos = parts.signature;
        uint256 s = uint256(LibBytes.loadCalldata(evidence, pos + 32));
        require(P256.isLow(s), QuoteSignatureMalleable());
        bool isValid = P256.isSignature(
            Sha256.ofSlice(evidence, parts.quote, parts.bodyEnd),
            uint256(LibBytes.loadCalldata(evidence, pos)),
            s,
            uint256(LibBytes.loadCalldata(evidence, pos + 64)),
            uint256(LibBytes.loadCalldata(evidence, pos + 96))
        );
        require(isValid, QuoteSignatureWrong());
    }

    function _checkTcb(bytes calldata evidence, QuoteLayout memory parts, Chain memory chain) private view {
        uint256 subject = Tee.platform(chain.pck.fmspc, chain.pck.pceId, parts.tee);
        (uint256 pos, uint256 end) = _read(_tcbInfos[subject], Collateral.TcbInfo, chain);
        PlatformTcb memory tcb = parts.platformTcb(evidence);
        (tcb.cpuSvn, tcb.pceSvn) = (chain.pck.cpuSvn, chain.pck.pceSvn);
        TcbLevel memory level = tcb.level(pos, end, parts.tee);
        level.merge(chain.level);
        chain.level = level;
        // INVARIANT: what Intel revoked is never attested.
        require(level.status != TcbStatus.Revoked, PlatformRevoked());
    }

    function _attestationKeyId(bytes calldata evidence, QuoteLayout memory parts) private pure returns (bytes32) {
        uint256 pos = parts.signature + 64;
        return EfficientHashLib.hash(LibBytes.loadCalldata(evidence, pos), LibBytes.loadCalldata(evidence, pos + 32));
    }

    function _pckId(CertifiedKey key) private view returns (bytes32) {
        Pck memory pck = PckRecord.read(key.pck());
        return EfficientHashLib.hash(pck.x, pck.y);
    }

    function _word(uint256 pos) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(pos)
        }
    }
}
