// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Attestation} from "../types/Attestation.sol";

/// @title IAttestationVerifier
/// @notice The seam behind which a quote is checked to be genuine; one implementation per vendor.
interface IAttestationVerifier {
    /// @notice Checks `evidence`, a quote in the form that the implementation asks for, and returns what it says, or
    /// reverts. Never returns the status `Revoked`.
    /// @dev The caller must still check that the measurement is approved, that the report data and its tail are what
    /// it expects, that `validUntil` has not passed, and that status, evaluation number, advisories and platform
    /// satisfy its policy.
    function verify(bytes calldata evidence) external view returns (Attestation memory);
}
