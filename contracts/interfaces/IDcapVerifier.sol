// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IAttestationVerifier} from "./IAttestationVerifier.sol";

/// @notice What is cached of a certificate of an authority or a TCB signer.
struct IssuerView {
    uint64 notBefore;
    uint64 notAfter;
    uint160 serial;
}

/// @notice What is cached of a PCK certificate.
/// @param platform Names the machine.
/// @param validUntil When (unix) the first of it and its authority's certificate expires.
struct PckView {
    bytes32 caId;
    bytes32 platform;
    uint160 serial;
    uint128 cpuSvn;
    uint16 pceSvn;
    uint48 fmspc;
    uint16 pceId;
    uint64 notBefore;
    uint64 validUntil;
}

/// @notice What is cached of a revocation list, TCB info or QE identity; all zero if there is none.
/// @param issuedAt When (unix) it was issued.
/// @param validUntil The last second (unix) for which it counts.
/// @param number The evaluation number; of a revocation list, how many serials it has.
struct DocumentView {
    uint64 issuedAt;
    uint64 validUntil;
    uint32 number;
}

/// @notice The kinds of collateral that expire every month.
enum Collateral {
    RootCrl,
    PckCrl,
    TcbInfo,
    QeIdentity
}

/// @title IDcapVerifier
/// @notice Verifies Intel DCAP quotes of SGX enclaves (version 3) and TDX trust domains (versions 4 and 5) under one
/// root.
/// @dev What the quotes of many enclaves have in common is verified once and cached: root -> PCK authority -> PCK;
/// root -> TCB signer -> TCB info and QE identity; the revocation lists of root and authorities. Anyone may bring it; a
/// signature that leads to the root decides. It goes forward only, and counts until it expires.
///
/// There is no owner, and nothing to configure but the root: everybody can check that a verifier deployed with Intel's
/// root believes Intel and nobody else. Keys are named by the keccak256 of their coordinates, x then y.
///
/// Warning: whoever brings TCB info decides which of Intel's evaluations counts. One that is published early makes
/// platforms out of date early, and an older evaluation is refused from then on.
/// Warning: a revocation list of more than 1,228 serials is refused, so the last one accepted would expire.
interface IDcapVerifier is IAttestationVerifier {
    event RootTrusted(bytes32 x, bytes32 y);
    event CertificateAuthorityAdded(bytes32 indexed caId, uint64 notAfter);
    event TcbSignerAdded(bytes32 indexed signerId, uint64 notAfter);
    event PckAdded(bytes32 indexed pckId, bytes32 indexed platform, bytes32 indexed caId, uint48 fmspc, uint16 pceId);
    event CrlRefreshed(bytes32 indexed issuerId, uint64 thisUpdate, uint64 nextUpdate, uint256 serials);
    event TcbInfoRefreshed(
        uint48 indexed fmspc, uint16 pceId, uint8 tee, uint64 issueDate, uint64 nextUpdate, uint32 evaluationNumber
    );
    event QeIdentityRefreshed(uint8 indexed tee, uint64 issueDate, uint64 nextUpdate, uint32 evaluationNumber);
    event AttestationKeyCached(bytes32 indexed keyId, bytes32 indexed pckId);

    error CertificateAuthorityUnknown(bytes32 caId);
    error TcbSignerUnknown(bytes32 signerId);
    error PckUnknown(bytes32 pckId);
    error AttestationKeyUnknown(bytes32 keyId);
    error AttestationKeyOfOtherTee(uint256 expected, uint256 actual);
    error IssuerNameMismatch(bytes32 expected, bytes32 actual);
    error IssuerExpired(bytes32 issuerId, uint256 notAfter);
    error SerialRevoked(Collateral list, uint256 serial);
    error NotNewer(uint256 known, uint256 offered);
    error EvaluationNumberLower(uint256 known, uint256 offered);
    error DocumentNotYetValid(uint256 issueDate);
    error DocumentExpired(uint256 nextUpdate);
    error CollateralNotCurrent(Collateral kind, uint256 validUntil);
    error PckExpired(uint256 validUntil);
    error QuoteSignatureWrong();
    error QuoteSignatureMalleable();
    error QeReportSignatureWrong(bytes32 pckId);
    error QeReportSignatureMalleable();
    error AttestationKeyNotBound(bytes32 expected, bytes32 actual);
    error QeInDebugMode();
    error QeIdentityMismatch(bytes32 expected, bytes32 actual);
    error PlatformRevoked();

    /// @notice The trusted root's public key.
    function ROOT_X() external view returns (bytes32);

    /// @notice The trusted root's public key.
    function ROOT_Y() external view returns (bytes32);

    /* ----------------------------------------------- certificates -------------------------------------------- */

    /// @notice Caches the certificate of a PCK authority ("Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"),
    /// signed by the root. Needs a current revocation list of the root.
    function addCertificateAuthority(bytes calldata der) external returns (bytes32 caId);

    /// @notice Caches the certificate of a TCB signer ("Intel SGX TCB Signing"), signed by the root. Needs a current
    /// revocation list of the root.
    function addTcbSigner(bytes calldata der) external returns (bytes32 signerId);

    /// @notice Caches a PCK certificate, signed by the authority `caId`. Needs a current revocation list of the root.
    function addPck(bytes calldata der, bytes32 caId) external returns (bytes32 pckId);

    /* ------------------------------------------------ collateral --------------------------------------------- */

    /// @notice Replaces the root's revocation list by a newer one.
    function refreshRootCrl(bytes calldata der) external;

    /// @notice Replaces the revocation list of the authority `caId` by a newer one.
    function refreshPckCrl(bytes32 caId, bytes calldata der) external;

    /// @notice Replaces the TCB info of a platform model by a newer one, of the same evaluation or a later.
    /// @param json The text of the member `tcbInfo`, byte by byte as published.
    /// @param signature Over `json`, by `signerId`: r, s.
    function refreshTcbInfo(bytes calldata json, bytes calldata signature, bytes32 signerId) external;

    /// @notice Replaces the identity of a quoting enclave, as `refreshTcbInfo`.
    /// @param json The text of the member `enclaveIdentity`, byte by byte as published.
    function refreshQeIdentity(bytes calldata json, bytes calldata signature, bytes32 signerId) external;

    /// @notice Verifies `evidence` as `verify` does, and remembers that the attestation key in it was vouched for;
    /// after this, quotes by that key verify in the short form.
    function cacheAttestationKey(bytes calldata evidence) external returns (bytes32 keyId);

    /* -------------------------------------------------- views ------------------------------------------------ */

    /// @return What is cached of an authority; all zero if nothing is.
    function certificateAuthority(bytes32 caId) external view returns (IssuerView memory);

    /// @return What is cached of a TCB signer; all zero if nothing is.
    function tcbSigner(bytes32 signerId) external view returns (IssuerView memory);

    /// @notice What is cached of a PCK; reverts with `PckUnknown` if nothing is.
    function pck(bytes32 pckId) external view returns (PckView memory);

    /// @return What is cached of the root's revocation list.
    function rootCrl() external view returns (DocumentView memory);

    /// @return What is cached of an authority's revocation list.
    function pckCrl(bytes32 caId) external view returns (DocumentView memory);

    /// @param tee 0x00 for SGX, 0x81 for TDX.
    /// @return What is cached of the TCB info of a platform model.
    function tcbInfo(uint48 fmspc, uint16 pceId, uint8 tee) external view returns (DocumentView memory);

    /// @param tee 0x00 for SGX, 0x81 for TDX.
    /// @return What is cached of the identity of the quoting enclave.
    function qeIdentity(uint8 tee) external view returns (DocumentView memory);

    /// @return Whether quotes by an attestation key verify in the short form, as long as all else holds.
    function isAttestationKeyCached(bytes32 keyId) external view returns (bool);
}
