// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ECDSA} from "solady/utils/ECDSA.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";

import {TwoStepOwnable} from "./TwoStepOwnable.sol";
import {IAttestationVerifier} from "./interfaces/IAttestationVerifier.sol";
import {Enclave, IEnclaveRegistry} from "./interfaces/IEnclaveRegistry.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {Attestation, MeasurementId, Registration} from "./types/Attestation.sol";
import {Key, KeyLibrary} from "./types/Key.sol";

/// @title EnclaveRegistry
/// @notice Says which signing keys live inside an approved enclave, and until when; proves receipts by them.
/// @dev Invariants E1 to E9 are in docs/INVARIANTS.md. A receipt is checked with two storage reads: the key, and
/// the approval under which it registered.
contract EnclaveRegistry is IEnclaveRegistry, TwoStepOwnable {
    /// @inheritdoc IEnclaveRegistry
    uint64 public constant MAX_AGE = 30 days;
    /// @inheritdoc IEnclaveRegistry
    IAttestationVerifier public immutable VERIFIER;

    uint256 private constant SIGNATURE_BYTES = 64;
    uint256 private constant HALF_CURVE_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    mapping(address => Key) private _keys;
    /// @dev Whether an approval, by number, still stands.
    mapping(uint256 => bool) private _stands;
    /// @dev The newest approval of a measurement; 0 = never approved.
    mapping(MeasurementId => uint32) private _newestApproval;
    mapping(uint256 => MeasurementId) private _measurementOf;
    uint32 private _approvals;

    constructor(address owner_, IAttestationVerifier verifier_) {
        _initializeOwner(owner_);
        VERIFIER = verifier_;
    }

    /// @inheritdoc IReceiptVerifier
    function verify(bytes32 digest, bytes calldata proof) external view returns (bool) {
        _checkSignature(digest, proof);
        return true;
    }

    /// @inheritdoc IEnclaveRegistry
    function register(address signer, bytes32 sealingKey, address operator, uint256 anchorBlock, bytes calldata quote)
        external
    {
        require(signer != address(0), SignerMissing());

        // 1. Fresh.
        bytes32 anchor = blockhash(anchorBlock);
        require(anchor != 0, AnchorTooOld(anchorBlock));

        // 2. Genuine.
        Attestation memory attestation = VERIFIER.verify(quote);
        require(attestation.validUntil >= block.timestamp, CollateralExpired(attestation.validUntil));

        // 3. An approved build.
        uint32 approval = _newestApproval[attestation.measurement];
        require(_stands[approval], MeasurementNotApproved(attestation.measurement));

        // 4. For exactly these keys, this operator, here and now.
        bytes32 expected = reportData(signer, sealingKey, operator, anchor);
        require(attestation.reportData == expected, ReportDataMismatch(expected, attestation.reportData));

        // 5. Not revoked, and still the same operator's.
        Key known = _keys[signer];
        require(!known.isRevoked(), SignerRevoked(signer));
        require(!known.isKnown() || known.operator() == operator, OperatorMismatch(known.operator(), operator));

        // INVARIANT: no registration outlives MAX_AGE or the collateral that vouched for it.
        uint64 liveUntil = uint64(block.timestamp) + MAX_AGE;
        if (attestation.validUntil < liveUntil) liveUntil = attestation.validUntil;
        if (known.approval() == approval && known.liveUntil() > liveUntil) liveUntil = known.liveUntil();

        _keys[signer] = KeyLibrary.pack(operator, approval, liveUntil);
        emit EnclaveRegistered(signer, attestation.measurement, operator, sealingKey, liveUntil);
    }

    /// @inheritdoc IEnclaveRegistry
    function approveMeasurement(MeasurementId measurement) external onlyOwner {
        require(!isApproved(measurement), MeasurementAlreadyApproved(measurement));
        uint32 approval = ++_approvals;
        assert(approval != KeyLibrary.REVOKED);
        _newestApproval[measurement] = approval;
        _measurementOf[approval] = measurement;
        _stands[approval] = true;
        emit MeasurementApproved(measurement);
    }

    /// @inheritdoc IEnclaveRegistry
    function revokeMeasurement(MeasurementId measurement) external onlyOwner {
        require(isApproved(measurement), MeasurementNotApproved(measurement));
        _stands[_newestApproval[measurement]] = false;
        emit MeasurementRevoked(measurement);
    }

    /// @inheritdoc IEnclaveRegistry
    function revokeEnclave(address signer) external {
        Key key = _keys[signer];
        require(
            msg.sender == owner() || (msg.sender == key.operator() && key.operator() != address(0)),
            NotOwnerOrOperator(msg.sender)
        );
        require(!key.isRevoked(), SignerRevoked(signer));
        _keys[signer] = KeyLibrary.pack(key.operator(), KeyLibrary.REVOKED, 0);
        emit EnclaveRevoked(signer);
    }

    /// @inheritdoc IEnclaveRegistry
    function isLive(address signer) external view returns (bool) {
        return _isLive(_keys[signer]);
    }

    /// @inheritdoc IEnclaveRegistry
    function isApproved(MeasurementId measurement) public view returns (bool) {
        return _stands[_newestApproval[measurement]];
    }

    /// @inheritdoc IEnclaveRegistry
    function enclave(address signer) external view returns (Enclave memory) {
        Key key = _keys[signer];
        require(key.isKnown(), SignerUnknown(signer));
        require(!key.isRevoked(), SignerRevoked(signer));
        return Enclave({
            measurement: _measurementOf[key.approval()],
            operator: key.operator(),
            liveUntil: key.liveUntil(),
            live: _isLive(key)
        });
    }

    /// @inheritdoc IEnclaveRegistry
    function reportData(address signer, bytes32 sealingKey, address operator, bytes32 anchor)
        public
        view
        returns (bytes32)
    {
        return Registration({
            signer: signer, sealingKey: sealingKey, operator: operator, anchor: anchor
        }).reportData(block.chainid, address(this));
    }

    function _isLive(Key key) private view returns (bool) {
        return block.timestamp <= key.liveUntil() && _stands[key.approval()];
    }

    /// @dev Reverts unless `proof` is an EIP-2098 signature of `digest` by a live key. Of the two signatures that
    /// are valid for a digest only the one with low `s` is taken, so a receipt has one proof.
    function _checkSignature(bytes32 digest, bytes calldata proof) internal view {
        require(proof.length == SIGNATURE_BYTES, SignatureLengthWrong(SIGNATURE_BYTES, proof.length));
        bytes32 r = LibBytes.loadCalldata(proof, 0);
        bytes32 vs = LibBytes.loadCalldata(proof, 32);
        bytes32 s = bytes32(uint256(vs) << 1 >> 1);
        require(uint256(s) <= HALF_CURVE_ORDER, SignatureMalleable(s));
        address signer = ECDSA.tryRecover(digest, r, vs);
        require(signer != address(0), SignatureInvalid());

        // INVARIANT: a signature counts only while its key is live and the build behind it is approved.
        Key key = _keys[signer];
        if (block.timestamp > key.liveUntil() || !_stands[key.approval()]) _revertDead(signer, key);
    }

    /// @dev Names the cause for which `signer` may not sign.
    function _revertDead(address signer, Key key) private view {
        require(key.isKnown(), SignerUnknown(signer));
        require(!key.isRevoked(), SignerRevoked(signer));
        require(_stands[key.approval()], MeasurementNotApproved(_measurementOf[key.approval()]));
        revert SignerExpired(signer, key.liveUntil());
    }
}
