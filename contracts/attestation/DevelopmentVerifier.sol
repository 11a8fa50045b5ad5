// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ECDSA} from "solady/utils/ECDSA.sol";

import {IAttestationVerifier} from "../interfaces/IAttestationVerifier.sol";
import {Attestation, MeasurementId} from "../types/Attestation.sol";

/// @title DevelopmentVerifier
/// @notice Accepts quotes that a development root signed. Guarantees nothing about hardware.
/// @dev Warning: the key of the usual root is public on purpose. So this contract cannot be deployed on any chain
/// but the local one, and refuses to verify if that chain's id changes under it.
contract DevelopmentVerifier is IAttestationVerifier {
    uint256 public constant DEVELOPMENT_CHAIN_ID = 31_337;
    bytes32 public constant QUOTE_DOMAIN = keccak256("Adyton development quote v1");

    address public immutable ROOT;

    error DevelopmentChainOnly(uint256 expected, uint256 actual);
    error RootMismatch(address expected, address actual);

    constructor(address root) {
        _checkChain();
        ROOT = root;
    }

    /// @inheritdoc IAttestationVerifier
    /// @dev `quote` = abi.encode(measurement, reportData, platform, validUntil, signature), where the signature
    /// (65 bytes: r, s, v) is by `ROOT` over keccak256(abi.encode(QUOTE_DOMAIN, the first four)).
    function verify(bytes calldata quote) external view returns (Attestation memory attestation) {
        _checkChain();
        bytes memory signature;
        (attestation.measurement, attestation.reportData, attestation.platform, attestation.validUntil, signature) =
            abi.decode(quote, (MeasurementId, bytes32, bytes32, uint64, bytes));
        address signer = ECDSA.recover(keccak256(abi.encode(QUOTE_DOMAIN, attestation)), signature);
        require(signer == ROOT, RootMismatch(ROOT, signer));
    }

    function _checkChain() private view {
        require(block.chainid == DEVELOPMENT_CHAIN_ID, DevelopmentChainOnly(DEVELOPMENT_CHAIN_ID, block.chainid));
    }
}
