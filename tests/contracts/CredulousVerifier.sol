// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IAttestationVerifier} from "contracts/interfaces/IAttestationVerifier.sol";
import {Attestation} from "contracts/types/Attestation.sol";

/// @notice Believes whatever it is told: what a registry makes of attestations is tested apart from how they are checked.
contract CredulousVerifier is IAttestationVerifier {
    /// @dev `evidence` = abi.encode(attestation).
    function verify(bytes calldata evidence) external pure returns (Attestation memory) {
        return abi.decode(evidence, (Attestation));
    }
}
