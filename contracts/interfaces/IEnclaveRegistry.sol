// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {AdvisorySet} from "../types/AdvisorySet.sol";
import {MeasurementId} from "../types/Attestation.sol";
import {Policy} from "../types/Policy.sol";
import {TcbStatus} from "../types/TcbStatus.sol";
import {IAttestationVerifier} from "./IAttestationVerifier.sol";
import {IReceiptVerifier} from "./IReceiptVerifier.sol";

/// @notice A registered signing key, as `IEnclaveRegistry.enclave` reports it.
/// @param liveUntil The last second (unix) in which its signatures count.
/// @param live Whether they count now.
/// @param platform The machine that it lives on.
struct Enclave {
    MeasurementId measurement;
    address operator;
    uint64 liveUntil;
    bool live;
    bytes32 platform;
}

/// @notice What the owner says of a platform. One that it never named is `Unlisted`.
enum PlatformStanding {
    Unlisted,
    Allowed,
    Denied
}

/// @title IEnclaveRegistry
/// @notice Says which signing keys live inside an approved enclave, and until when.
/// @dev Attest once, sign many: the costly quote check runs once per key. After that, a receipt costs one
/// signature recovery.
interface IEnclaveRegistry is IReceiptVerifier {
    event EnclaveRegistered(
        address indexed signer,
        MeasurementId indexed measurement,
        address indexed operator,
        bytes32 platform,
        bytes32 sealingKey,
        uint64 liveUntil
    );
    event EnclaveRevoked(address indexed signer);
    event MeasurementApproved(MeasurementId indexed measurement);
    event MeasurementRevoked(MeasurementId indexed measurement);
    event PolicySet(MeasurementId indexed measurement, Policy policy);
    event PlatformAllowed(bytes32 indexed platform);
    event PlatformDenied(bytes32 indexed platform);
    event PlatformForgotten(bytes32 indexed platform);

    error AnchorTooOld(uint256 anchorBlock);
    error AnchorBeforeRevocation(uint256 revokedBlock, uint256 anchorBlock);
    error CollateralExpired(uint64 validUntil);
    error MeasurementNotApproved(MeasurementId measurement);
    error MeasurementAlreadyApproved(MeasurementId measurement);
    error PolicyUnsound(Policy policy);
    error StatusNotAccepted(TcbStatus status);
    error GracePeriodOver(uint64 until);
    error EvaluationNumberTooLow(uint32 minimum, uint32 actual);
    error AdvisoryNotAccepted(AdvisorySet accepted, AdvisorySet actual);
    error PlatformNotAccepted(bytes32 platform, PlatformStanding standing);
    error PlatformStandingUnchanged(bytes32 platform, PlatformStanding standing);
    error PlatformWithdrawn(bytes32 platform);
    error PlatformMismatch(bytes32 expected, bytes32 actual);
    error ReportDataMismatch(bytes32 expected, bytes32 actual);
    error ReportDataTailNotZero(bytes32 tail);
    error OperatorMismatch(address expected, address actual);
    error SignerMissing();
    error SignerUnknown(address signer);
    error SignerRevoked(address signer);
    error SignerExpired(address signer, uint64 liveUntil);
    error SignatureLengthWrong(uint256 expected, uint256 actual);
    error SignatureMalleable(bytes32 s);
    error SignatureInvalid();
    error NotOwnerOrOperator(address caller);

    /// @notice The longest that a registration lasts, in seconds.
    function MAX_AGE() external view returns (uint64);

    /// @notice What checks quotes. Never changes: other evidence means another registry, hence another pool.
    function VERIFIER() external view returns (IAttestationVerifier);

    /// @notice Registers `signer`, or renews it, on the evidence of a quote. Anyone may submit it.
    /// @dev Reverts unless all of this holds, in this order:
    ///  1. the anchor block is one of the last 256;
    ///  2. the verifier accepts the evidence, and its collateral has not expired;
    ///  3. the quote's measurement is approved now, and the quote is not older than an approval that followed upon a
    ///     revocation;
    ///  4. status, grace period, evaluation number and advisories satisfy the policy of that approval;
    ///  5. the platform is not denied, is allowed if the policy asks for it, and the quote is not older than the last
    ///     time that the owner took this standing from it;
    ///  6. the quote's report data is the hash of all arguments, this registry and this chain, and zeros;
    ///  7. the signer is not revoked, and if it is known its operator and its platform are the same.
    /// A renewal under the same approval never shortens a registration, so replaying an older quote, or the same
    /// one with worse collateral, is no attack.
    /// @param sealingKey The enclave's X25519 public key.
    /// @param operator Who runs the enclave's host. Fixed for the life of the key.
    /// @param anchorBlock A block at most 256 old. Quotes carry no clock; its hash is their freshness.
    function register(
        address signer,
        bytes32 sealingKey,
        address operator,
        uint256 anchorBlock,
        bytes calldata evidence
    ) external;

    /// @notice Accepts a build, under conditions. Only the owner.
    function approveMeasurement(MeasurementId measurement, Policy calldata policy) external;

    /// @notice Replaces the conditions of an approved build, for registrations and renewals to come; keys that are
    /// registered live on. Only the owner.
    function setPolicy(MeasurementId measurement, Policy calldata policy) external;

    /// @notice Rejects a build, and with it at once every key that registered under it. For good: if the build is
    /// approved again, its enclaves must register again, with new quotes. Only the owner.
    function revokeMeasurement(MeasurementId measurement) external;

    /// @notice Lists a platform for the policies that ask for it. Revives no key. Only the owner.
    function allowPlatform(bytes32 platform) external;

    /// @notice Rejects a platform, and with it at once every key that lives there; for good, as
    /// `revokeMeasurement`. Only the owner.
    function denyPlatform(bytes32 platform) external;

    /// @notice Unlists a platform that was allowed or denied. Every key that lives there dies at once and may register
    /// again, with a new quote, where the policy does not ask for listed platforms. Only the owner.
    function forgetPlatform(bytes32 platform) external;

    /// @notice Ends a key for good. No quote, old or new, brings it back. Only the owner or the key's operator.
    /// @dev The owner may also revoke a key that is not registered yet.
    function revokeEnclave(address signer) external;

    /// @return Whether signatures of `signer` count now.
    function isLive(address signer) external view returns (bool);

    /// @return Whether `measurement` is approved now.
    function isApproved(MeasurementId measurement) external view returns (bool);

    /// @notice The conditions of an approved build; reverts with `MeasurementNotApproved`.
    function policyOf(MeasurementId measurement) external view returns (Policy memory);

    /// @return What the owner says of `platform` now.
    function standingOf(bytes32 platform) external view returns (PlatformStanding);

    /// @notice Reports what is known of `signer`; reverts with `SignerUnknown` or `SignerRevoked`.
    function enclave(address signer) external view returns (Enclave memory);

    /// @return The report data that a quote for these arguments must carry, followed by zeros.
    function reportData(address signer, bytes32 sealingKey, address operator, bytes32 anchor)
        external
        view
        returns (bytes32);
}
