// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Attestation} from "../types/Attestation.sol";

/// @title IAttestationVerifier
/// @notice The seam behind which a quote is checked to be genuine; one implementation per vendor.
interface IAttestationVerifier {
    /// @notice Checks `quote` and returns what it says, or reverts.
    /// @dev The caller must still check that the measurement is approved, that the report data is what it
    /// expects, and that `validUntil` has not passed.
    function verify(bytes calldata quote) external view returns (Attestation memory);
}
