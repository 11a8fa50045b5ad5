// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBytes} from "solady/utils/LibBytes.sol";

import {CollateralText} from "./Collateral.sol";
import {P256} from "./P256.sol";
import {PckExtension, PlatformDescription} from "./PckExtension.sol";
import {QeIdentity} from "./QeIdentity.sol";
import {Sha256} from "./Sha256.sol";
import {TcbInfo} from "./TcbInfo.sol";
import {Certificate, Role, X509} from "./X509.sol";

/// @title CollateralParser
/// @notice Reads certificates and Intel's JSON documents that a given key signed. Has no state;
/// `DcapVerifier` says whose key it must be, and deploys this beside itself because both do not fit into one contract.
/// @dev In each function the signature comes first: of what nobody trusted signed, nothing is interpreted but where the
/// signature is. Whether a certificate is valid now is checked here; of JSON documents the caller checks it, and of all
/// whether the signer is still trusted.
contract CollateralParser {
    using X509 for Certificate;

    uint256 private constant SIGNATURE_BYTES = 64;

    error DocumentSignatureLengthWrong(uint256 expected, uint256 actual);
    error DocumentSignatureWrong();

    /// @notice Reads a certificate that is made out for `role` and was signed by the key (x, y).
    function readCertificate(bytes calldata der, Role role, uint256 x, uint256 y)
        external
        view
        returns (Certificate memory certificate)
    {
        certificate = X509.read(der, x, y);
        certificate.checkRole(der, role);
    }

    /// @notice Reads a PCK certificate that was signed by the key (x, y).
    function readPck(bytes calldata der, uint256 x, uint256 y)
        external
        view
        returns (Certificate memory certificate, PlatformDescription memory platform)
    {
        certificate = X509.read(der, x, y);
        (uint256 sgx, uint256 sgxEnd) = certificate.checkRole(der, Role.Pck);
        platform = PckExtension.read(der, sgx, sgxEnd);
    }

    /// @notice Reads TCB info, the text of the member `tcbInfo`, that was signed by the key (x, y).
    function readTcbInfo(bytes calldata json, bytes calldata signature, uint256 x, uint256 y)
        external
        view
        returns (CollateralText memory)
    {
        _checkSignature(json, signature, x, y);
        return TcbInfo.parse(json);
    }

    /// @notice Reads a QE identity, the text of the member `enclaveIdentity`, that was signed by the key (x, y).
    function readQeIdentity(bytes calldata json, bytes calldata signature, uint256 x, uint256 y)
        external
        view
        returns (CollateralText memory)
    {
        _checkSignature(json, signature, x, y);
        return QeIdentity.parse(json);
    }

    function _checkSignature(bytes calldata json, bytes calldata signature, uint256 x, uint256 y) private view {
        require(signature.length == SIGNATURE_BYTES, DocumentSignatureLengthWrong(SIGNATURE_BYTES, signature.length));
        uint256 r = uint256(LibBytes.loadCalldata(signature, 0));
        uint256 s = uint256(LibBytes.loadCalldata(signature, 32));
        bytes32 hash = Sha256.ofSlice(json, 0, json.length);
        require(P256.isSignature(hash, r, s, x, y), DocumentSignatureWrong());
    }
}
