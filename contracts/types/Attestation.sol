// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice Names a build: the hash of the registers in which the vendor measures it.
type MeasurementId is bytes32;

/// @notice The verified content of a quote.
/// @param measurement The build that asked for the quote.
/// @param reportData The hash that the enclave chose; see `AttestationLibrary.reportData`.
/// @param platform Identifies the machine, where the vendor tells; zero otherwise.
/// @param validUntil The last second (unix) for which the collateral vouches.
struct Attestation {
    MeasurementId measurement;
    bytes32 reportData;
    bytes32 platform;
    uint64 validUntil;
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
