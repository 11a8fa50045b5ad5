// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ECDSA} from "solady/utils/ECDSA.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";

import {TwoStepOwnable} from "./TwoStepOwnable.sol";
import {IAttestationVerifier} from "./interfaces/IAttestationVerifier.sol";
import {Enclave, IEnclaveRegistry, PlatformStanding} from "./interfaces/IEnclaveRegistry.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {AdvisorySet} from "./types/AdvisorySet.sol";
import {Attestation, MeasurementId, Registration} from "./types/Attestation.sol";
import {Key, KeyLibrary} from "./types/Key.sol";
import {Policy} from "./types/Policy.sol";

/// @title EnclaveRegistry
/// @notice Says which signing keys live inside an approved enclave, and until when; proves receipts by them.
/// @dev Invariants E1 to E14 are in docs/INVARIANTS.md. A receipt is checked with two storage reads: the key, and the
/// revocation counter. A key that registered when the counter showed what it shows now cannot have lost its build or
/// its platform; for one that registered earlier, both are looked up.
contract EnclaveRegistry is IEnclaveRegistry, TwoStepOwnable {
    /// @param number Numbers approvals from 1; a build that is approved again gets another.
    /// @param stands Whether it was not revoked.
    /// @param sinceBlock For an approval that followed upon a revocation, its block: older quotes do not count.
    /// @param acceptedAdvisories The second word; read only if a quote names advisories.
    struct Approval {
        uint32 number;
        bool stands;
        uint64 sinceBlock;
        uint8 acceptedStatuses;
        uint32 gracePeriodS;
        uint32 minimumEvaluationNumber;
        bool listedPlatformsOnly;
        AdvisorySet acceptedAdvisories;
    }

    /// @param withdrawnAt What the revocation counter showed after the standing was last taken from the platform:
    /// keys that registered before are dead.
    /// @param withdrawnBlock The block of that: older quotes do not count.
    struct Platform {
        PlatformStanding standing;
        uint24 withdrawnAt;
        uint64 withdrawnBlock;
    }

    /// @inheritdoc IEnclaveRegistry
    uint64 public constant MAX_AGE = 30 days;
    /// @inheritdoc IEnclaveRegistry
    IAttestationVerifier public immutable VERIFIER;

    uint256 private constant SIGNATURE_BYTES = 64;
    uint256 private constant HALF_CURVE_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    mapping(address => Key) private _keys;
    mapping(address => bytes32) private _platformOf;
    mapping(MeasurementId => Approval) private _approvals;
    mapping(uint256 => MeasurementId) private _measurementOf;
    mapping(bytes32 => Platform) private _platforms;
    uint32 private _approvalCount;
    /// @dev Counts everything that may have ended keys other than by name or by time.
    uint24 private _revocations;

    constructor(address owner_, IAttestationVerifier verifier_) {
        _initializeOwner(owner_);
        VERIFIER = verifier_;
    }

    /// @inheritdoc IReceiptVerifier
    function verify(bytes32 digest, bytes calldata proof) external view returns (bool) {
        _checkSignature(digest, proof);
        return true;
    }

    /* --------------------------------------------- registration ---------------------------------------------- */

    /// @inheritdoc IEnclaveRegistry
    function register(
        address signer,
        bytes32 sealingKey,
        address operator,
        uint256 anchorBlock,
        bytes calldata evidence
    ) external {
        require(signer != address(0), SignerMissing());

        // 1. Fresh.
        bytes32 anchor = blockhash(anchorBlock);
        require(anchor != 0, AnchorTooOld(anchorBlock));

        // 2. Genuine.
        Attestation memory attestation = VERIFIER.verify(evidence);
        require(attestation.validUntil >= block.timestamp, CollateralExpired(attestation.validUntil));

        // 3. to 5. An approved build, on a platform that its policy accepts.
        Approval storage approval = _approvals[attestation.measurement];
        require(approval.stands, MeasurementNotApproved(attestation.measurement));
        uint256 since = approval.sinceBlock;
        require(anchorBlock >= since, AnchorBeforeRevocation(since, anchorBlock));
        _checkPolicy(approval, attestation);
        _checkPlatform(approval.listedPlatformsOnly, attestation.platform, anchorBlock);

        // 6. For exactly these keys, this operator, here and now.
        bytes32 expected = reportData(signer, sealingKey, operator, anchor);
        require(attestation.reportData == expected, ReportDataMismatch(expected, attestation.reportData));
        require(attestation.reportDataTail == 0, ReportDataTailNotZero(attestation.reportDataTail));

        // 7. Not revoked, and still the same operator's, on the same platform.
        uint40 liveUntil = _liveUntil(approval, attestation);
        Key known = _keys[signer];
        if (known.isKnown()) {
            require(!known.isRevoked(), SignerRevoked(signer));
            require(known.operator() == operator, OperatorMismatch(known.operator(), operator));
            bytes32 platform = _platformOf[signer];
            require(platform == attestation.platform, PlatformMismatch(platform, attestation.platform));
            if (known.approval() == approval.number && _stands(signer, known) && known.liveUntil() > liveUntil) {
                liveUntil = known.liveUntil();
            }
        } else {
            _platformOf[signer] = attestation.platform;
        }

        _keys[signer] = KeyLibrary.pack(operator, approval.number, _revocations, liveUntil);
        emit EnclaveRegistered(signer, attestation.measurement, operator, attestation.platform, sealingKey, liveUntil);
    }

    function _checkPolicy(Approval storage approval, Attestation memory attestation) private view {
        require(
            approval.acceptedStatuses >> uint256(attestation.status) & 1 != 0, StatusNotAccepted(attestation.status)
        );
        if (attestation.status.isOutOfDate()) {
            uint64 until = _graceEnd(approval, attestation);
            require(block.timestamp <= until, GracePeriodOver(until));
        }
        uint32 minimum = approval.minimumEvaluationNumber;
        require(attestation.evaluationNumber >= minimum, EvaluationNumberTooLow(minimum, attestation.evaluationNumber));
        if (AdvisorySet.unwrap(attestation.advisories) != 0) {
            AdvisorySet accepted = approval.acceptedAdvisories;
            require(attestation.advisories.isSubsetOf(accepted), AdvisoryNotAccepted(accepted, attestation.advisories));
        }
    }

    function _checkPlatform(bool listedOnly, bytes32 id, uint256 anchorBlock) private view {
        Platform memory platform = _platforms[id];
        require(
            platform.standing == PlatformStanding.Allowed
                || (platform.standing == PlatformStanding.Unlisted && !listedOnly),
            PlatformNotAccepted(id, platform.standing)
        );
        require(anchorBlock >= platform.withdrawnBlock, AnchorBeforeRevocation(platform.withdrawnBlock, anchorBlock));
    }

    /// @dev INVARIANT: no registration outlives MAX_AGE, the collateral that vouched for it, or its grace period.
    function _liveUntil(Approval storage approval, Attestation memory attestation) private view returns (uint40) {
        uint64 until = uint64(block.timestamp) + MAX_AGE;
        if (attestation.validUntil < until) until = attestation.validUntil;
        if (attestation.status.isOutOfDate()) {
            uint64 graceEnd = _graceEnd(approval, attestation);
            if (graceEnd < until) until = graceEnd;
        }
        return uint40(until);
    }

    function _graceEnd(Approval storage approval, Attestation memory attestation) private view returns (uint64) {
        return attestation.outOfDateSince + approval.gracePeriodS;
    }

    /* ------------------------------------------------- owner -------------------------------------------------- */

    /// @inheritdoc IEnclaveRegistry
    function approveMeasurement(MeasurementId measurement, Policy calldata policy) external onlyOwner {
        require(!isApproved(measurement), MeasurementAlreadyApproved(measurement));
        Approval storage approval = _approvals[measurement];
        if (approval.number != 0) approval.sinceBlock = uint64(block.number);
        uint32 number = ++_approvalCount;
        assert(number != KeyLibrary.REVOKED);
        approval.number = number;
        approval.stands = true;
        _measurementOf[number] = measurement;
        emit MeasurementApproved(measurement);
        _setPolicy(measurement, policy);
    }

    /// @inheritdoc IEnclaveRegistry
    function setPolicy(MeasurementId measurement, Policy calldata policy) external onlyOwner {
        require(isApproved(measurement), MeasurementNotApproved(measurement));
        _setPolicy(measurement, policy);
    }

    function _setPolicy(MeasurementId measurement, Policy calldata policy) private {
        require(policy.isSound(), PolicyUnsound(policy));
        Approval storage approval = _approvals[measurement];
        approval.acceptedStatuses = policy.acceptedStatuses;
        approval.gracePeriodS = policy.gracePeriodS;
        approval.minimumEvaluationNumber = policy.minimumEvaluationNumber;
        approval.listedPlatformsOnly = policy.listedPlatformsOnly;
        approval.acceptedAdvisories = policy.acceptedAdvisories;
        emit PolicySet(measurement, policy);
    }

    /// @inheritdoc IEnclaveRegistry
    function revokeMeasurement(MeasurementId measurement) external onlyOwner {
        require(isApproved(measurement), MeasurementNotApproved(measurement));
        _approvals[measurement].stands = false;
        ++_revocations;
        emit MeasurementRevoked(measurement);
    }

    /// @inheritdoc IEnclaveRegistry
    function allowPlatform(bytes32 platform) external onlyOwner {
        // What was quoted while it was denied counts no more than what was quoted before.
        if (_platforms[platform].standing == PlatformStanding.Denied) {
            _platforms[platform].withdrawnBlock = uint64(block.number);
        }
        _changeStanding(platform, PlatformStanding.Allowed);
        emit PlatformAllowed(platform);
    }

    /// @inheritdoc IEnclaveRegistry
    function denyPlatform(bytes32 platform) external onlyOwner {
        _changeStanding(platform, PlatformStanding.Denied);
        _withdraw(platform);
        emit PlatformDenied(platform);
    }

    /// @inheritdoc IEnclaveRegistry
    function forgetPlatform(bytes32 platform) external onlyOwner {
        _changeStanding(platform, PlatformStanding.Unlisted);
        _withdraw(platform);
        emit PlatformForgotten(platform);
    }

    function _changeStanding(bytes32 platform, PlatformStanding standing) private {
        require(_platforms[platform].standing != standing, PlatformStandingUnchanged(platform, standing));
        _platforms[platform].standing = standing;
    }

    function _withdraw(bytes32 platform) private {
        _platforms[platform].withdrawnAt = ++_revocations;
        _platforms[platform].withdrawnBlock = uint64(block.number);
    }

    /// @inheritdoc IEnclaveRegistry
    function revokeEnclave(address signer) external {
        Key key = _keys[signer];
        require(
            msg.sender == owner() || (msg.sender == key.operator() && key.operator() != address(0)),
            NotOwnerOrOperator(msg.sender)
        );
        require(!key.isRevoked(), SignerRevoked(signer));
        _keys[signer] = KeyLibrary.pack(key.operator(), KeyLibrary.REVOKED, 0, 0);
        emit EnclaveRevoked(signer);
    }

    /* ------------------------------------------------- views -------------------------------------------------- */

    /// @inheritdoc IEnclaveRegistry
    function isLive(address signer) external view returns (bool) {
        return _isLive(signer, _keys[signer]);
    }

    /// @inheritdoc IEnclaveRegistry
    function isApproved(MeasurementId measurement) public view returns (bool) {
        return _approvals[measurement].stands;
    }

    /// @inheritdoc IEnclaveRegistry
    function policyOf(MeasurementId measurement) external view returns (Policy memory) {
        Approval storage approval = _approvals[measurement];
        require(approval.stands, MeasurementNotApproved(measurement));
        return Policy({
            acceptedStatuses: approval.acceptedStatuses,
            gracePeriodS: approval.gracePeriodS,
            minimumEvaluationNumber: approval.minimumEvaluationNumber,
            listedPlatformsOnly: approval.listedPlatformsOnly,
            acceptedAdvisories: approval.acceptedAdvisories
        });
    }

    /// @inheritdoc IEnclaveRegistry
    function standingOf(bytes32 platform) external view returns (PlatformStanding) {
        return _platforms[platform].standing;
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
            live: _isLive(signer, key),
            platform: _platformOf[signer]
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

    /* ------------------------------------------------ internal ------------------------------------------------ */

    function _isLive(address signer, Key key) private view returns (bool) {
        return block.timestamp <= key.liveUntil() && (key.revocations() == _revocations || _stands(signer, key));
    }

    /// @dev Whether neither the build nor the platform of a key was withdrawn since it registered.
    function _stands(address signer, Key key) private view returns (bool) {
        return _approvalStands(key) && key.revocations() >= _platforms[_platformOf[signer]].withdrawnAt;
    }

    function _approvalStands(Key key) private view returns (bool) {
        Approval storage approval = _approvals[_measurementOf[key.approval()]];
        return approval.stands && approval.number == key.approval();
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

        // INVARIANT: a signature counts only while its key is live, and build and platform behind it are accepted.
        Key key = _keys[signer];
        if (!_isLive(signer, key)) _revertDead(signer, key);
    }

    /// @dev Names the cause for which `signer` may not sign.
    function _revertDead(address signer, Key key) private view {
        require(key.isKnown(), SignerUnknown(signer));
        require(!key.isRevoked(), SignerRevoked(signer));
        require(_approvalStands(key), MeasurementNotApproved(_measurementOf[key.approval()]));
        require(_stands(signer, key), PlatformWithdrawn(_platformOf[signer]));
        revert SignerExpired(signer, key.liveUntil());
    }
}
