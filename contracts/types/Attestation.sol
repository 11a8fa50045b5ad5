// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {AdvisorySet} from "./AdvisorySet.sol";
import {TcbStatus} from "./TcbStatus.sol";

/// @notice Names a build: the hash of the registers in which the vendor measures it.
type MeasurementId is bytes32;

/// @notice The verified content of a quote.
/// @param measurement The build that asked for the quote.
/// @param reportData The hash that the enclave chose; see `AttestationLibrary.reportData`.
/// @param platform Identifies the machine, where the vendor tells; zero otherwise.
/// @param validUntil The last second (unix) for which all that was relied upon vouches.
/// @param status How current the platform is, all its parts taken together.
/// @param evaluationNumber The vendor's number of the evaluation that says so; the oldest of those used.
/// @param outOfDateSince When (unix) the platform, or the first of its parts, fell out of date; zero if it has not.
/// @param advisories The advisories that stand open on the platform.
/// @param reportDataTail What the enclave put after the hash; the vendor's report data may be longer than 32 bytes.
struct Attestation {
    MeasurementId measurement;
    bytes32 reportData;
    bytes32 platform;
    uint64 validUntil;
    TcbStatus status;
    uint32 evaluationNumber;
    uint64 outOfDateSince;
    AdvisorySet advisories;
    bytes32 reportDataTail;
}

/// @notice What a registration binds together.
/// @param anchor Hash of a recent block. Quotes carry no clock; the anchor is their freshness.
struct Registration {
    address signer;
    bytes32 sealingKey;
    address operator;
    bytes32 anchor;
}

using AttestationLibrary for Registration global;

/// @title AttestationLibrary
/// @notice Computes report data. Mirrored by `oracle/types/attestation.py`.
library AttestationLibrary {
    bytes32 internal constant REGISTRATION_DOMAIN = keccak256("Adyton enclave registration v1");

    function reportData(Registration memory self, uint256 chainId, address registry) internal pure returns (bytes32) {
        return keccak256(abi.encode(REGISTRATION_DOMAIN, chainId, registry, self));
    }
}
