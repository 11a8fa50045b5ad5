// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBytes} from "solady/utils/LibBytes.sol";

import {Der} from "./Der.sol";
import {SignedDer} from "./SignedDer.sol";

/// @notice What is read of a certificate. Positions count from the start of its DER.
/// @param issuer Hash of the issuer's name, DER and all.
/// @param subject Hash of the subject's name, DER and all.
/// @param commonName Where the subject's common name begins.
/// @param extensions Where the list of extensions begins.
struct Certificate {
    uint256 serial;
    bytes32 issuer;
    bytes32 subject;
    uint256 notBefore;
    uint256 notAfter;
    uint256 x;
    uint256 y;
    uint256 commonName;
    uint256 commonNameEnd;
    uint256 extensions;
    uint256 extensionsEnd;
}

/// @notice What a certificate is for. Each role has its own common name and its own rights, so that no certificate can
/// stand in for one of another role, though the same key signed both.
enum Role {
    PckAuthority,
    TcbSigner,
    Pck
}

/// @title X509
/// @notice Reads X.509 certificates of Intel's shape: version 3, P-256, one common name, known extensions.
library X509 {
    using Der for bytes;

    /// @dev [0] { INTEGER 2 }
    bytes5 private constant VERSION_3 = 0xa003020102;
    /// @dev SubjectPublicKeyInfo of an uncompressed P-256 key, up to the key.
    bytes27 private constant P256_KEY = 0x3059301306072a8648ce3d020106082a8648ce3d03010703420004;
    uint256 private constant P256_KEY_BYTES = 27;
    uint256 private constant MAX_SERIAL = type(uint160).max;

    bytes5 private constant COMMON_NAME = 0x0603550403;
    bytes5 private constant KEY_USAGE = 0x0603551d0f;
    bytes5 private constant BASIC_CONSTRAINTS = 0x0603551d13;
    /// @dev 1.2.840.113741.1.13.1, Intel's SGX extension.
    bytes11 private constant SGX_EXTENSION = 0x06092a864886f84d010d01;

    uint256 private constant DIGITAL_SIGNATURE = 0x80;
    uint256 private constant SIGNS_CERTIFICATES_AND_CRLS = 0x06;

    error CertificateNotYetValid(uint256 notBefore);
    error CertificateExpired(uint256 notAfter);
    error CertificateUnsupported(uint256 pos);
    error CommonNameWrong(Role role);
    error ExtensionMissing(bytes11 identifier);
    error ExtensionRepeated(bytes11 identifier);
    error ExtensionUnknown(uint256 pos);
    error RightsWrong(Role role, bool isAuthority, uint256 keyUsage);
    error SerialTooLong(uint256 serial);

    /// @notice Reads a certificate that the key (x, y) signed and that is valid now. Its role is still to be checked.
    function read(bytes calldata der, uint256 x, uint256 y) internal view returns (Certificate memory certificate) {
        (uint256 pos, uint256 end) = SignedDer.open(der, x, y);
        require(pos + 5 <= end && bytes5(der[pos:pos + 5]) == VERSION_3, CertificateUnsupported(pos));
        (certificate.serial, pos) = serial(der, pos + 5, end);
        pos = SignedDer.algorithm(der, pos, end);
        (certificate.issuer, pos) = name(der, pos, end);

        (uint256 validity, uint256 validityEnd) = der.open(pos, end, Der.SEQUENCE);
        (certificate.notBefore, validity) = der.time(validity, validityEnd);
        (certificate.notAfter, validity) = der.time(validity, validityEnd);
        require(validity == validityEnd, Der.DerMalformed(validity));
        require(certificate.notBefore <= block.timestamp, CertificateNotYetValid(certificate.notBefore));
        require(block.timestamp <= certificate.notAfter, CertificateExpired(certificate.notAfter));

        (certificate.commonName, certificate.commonNameEnd) = _commonName(der, validityEnd, end);
        (certificate.subject, pos) = name(der, validityEnd, end);

        require(pos + P256_KEY_BYTES + 64 <= end, CertificateUnsupported(pos));
        require(bytes27(der[pos:pos + P256_KEY_BYTES]) == P256_KEY, CertificateUnsupported(pos));
        certificate.x = uint256(LibBytes.loadCalldata(der, pos + P256_KEY_BYTES));
        certificate.y = uint256(LibBytes.loadCalldata(der, pos + P256_KEY_BYTES + 32));
        pos += P256_KEY_BYTES + 64;

        (certificate.extensions, pos) = der.open(pos, end, Der.CONTEXT_3);
        require(pos == end, Der.DerMalformed(pos));
        (certificate.extensions, certificate.extensionsEnd) = der.open(certificate.extensions, end, Der.SEQUENCE);
        require(certificate.extensionsEnd == end, Der.DerMalformed(certificate.extensionsEnd));
    }

    /// @notice Checks that a certificate is made out for `role`: by its common name, by whether it is an authority's,
    /// by what its key may sign, and by whether it describes a platform.
    /// @return sgx Where the content of Intel's SGX extension begins; zero if there is none.
    /// @return sgxEnd Where it ends.
    function checkRole(Certificate memory self, bytes calldata der, Role role)
        internal
        pure
        returns (uint256 sgx, uint256 sgxEnd)
    {
        bool named = role == Role.PckAuthority
            ? _isNamed(self, der, "Intel SGX PCK Platform CA", 25)
                || _isNamed(self, der, "Intel SGX PCK Processor CA", 26)
            : role == Role.TcbSigner
                ? _isNamed(self, der, "Intel SGX TCB Signing", 21)
                : _isNamed(self, der, "Intel SGX PCK Certificate", 25);
        require(named, CommonNameWrong(role));

        (bool isAuthority, uint256 keyUsage, uint256 start, uint256 end) = _extensions(self, der);
        bool signsCertificates = keyUsage & SIGNS_CERTIFICATES_AND_CRLS != 0;
        bool rightsFit = role == Role.PckAuthority
            ? isAuthority && keyUsage & SIGNS_CERTIFICATES_AND_CRLS == SIGNS_CERTIFICATES_AND_CRLS
            : !isAuthority && !signsCertificates && keyUsage & DIGITAL_SIGNATURE != 0;
        require(rightsFit, RightsWrong(role, isAuthority, keyUsage));
        if (role == Role.Pck) require(start != 0, ExtensionMissing(SGX_EXTENSION));
        return (start, end);
    }

    /// @notice The serial number at `pos`, which must fit 20 bytes (RFC 5280, 4.1.2.2).
    function serial(bytes calldata der, uint256 pos, uint256 limit) internal pure returns (uint256 value, uint256 end) {
        (value, end) = der.unsigned(pos, limit);
        require(value <= MAX_SERIAL, SerialTooLong(value));
    }

    /// @notice The hash of the name at `pos`.
    function name(bytes calldata der, uint256 pos, uint256 limit) internal pure returns (bytes32 hash, uint256 end) {
        (, end) = der.open(pos, limit, Der.SEQUENCE);
        hash = keccak256(der[pos:end]);
    }

    /// @notice Reads the extension at `pos`.
    /// @return identifier Where its object identifier begins.
    /// @return critical Whether who does not know it must refuse.
    /// @return value Where the content of its value begins.
    /// @return end Where the extension ends, and its value.
    function extension(bytes calldata der, uint256 pos, uint256 limit)
        internal
        pure
        returns (uint256 identifier, bool critical, uint256 value, uint256 end)
    {
        (identifier, end) = der.open(pos, limit, Der.SEQUENCE);
        (, uint256 next) = der.open(identifier, end, Der.OBJECT_IDENTIFIER);
        (uint256 tag, uint256 start, uint256 after_) = der.element(next, end);
        if (tag == Der.BOOLEAN) {
            require(after_ - start == 1 && der[start] == 0xff, Der.DerMalformed(start));
            critical = true;
            next = after_;
        }
        (value, after_) = der.open(next, end, Der.OCTET_STRING);
        require(after_ == end, Der.DerMalformed(after_));
    }

    /// @dev The common name in the name at `pos`, where it must come first, as in all names of Intel's.
    function _commonName(bytes calldata der, uint256 pos, uint256 limit)
        private
        pure
        returns (uint256 start, uint256 end)
    {
        (uint256 set, uint256 nameEnd) = der.open(pos, limit, Der.SEQUENCE);
        (uint256 pair, uint256 setEnd) = der.open(set, nameEnd, Der.SET);
        (uint256 attribute, uint256 pairEnd) = der.open(pair, setEnd, Der.SEQUENCE);
        bool isCommonName = bytes5(LibBytes.loadCalldata(der, attribute)) == COMMON_NAME;
        require(isCommonName && pairEnd == setEnd, CertificateUnsupported(pos));
        uint256 tag;
        (tag, start, end) = der.element(attribute + 5, pairEnd);
        require(
            (tag == Der.UTF8_STRING || tag == Der.PRINTABLE_STRING) && end == pairEnd, CertificateUnsupported(attribute)
        );
    }

    /// @dev Whether the common name is `expected`, of `length` bytes.
    function _isNamed(Certificate memory self, bytes calldata der, bytes32 expected, uint256 length)
        private
        pure
        returns (bool)
    {
        if (self.commonNameEnd - self.commonName != length) return false;
        uint256 unused = 256 - 8 * length;
        return LibBytes.loadCalldata(der, self.commonName) >> unused == expected >> unused;
    }

    function _extensions(Certificate memory self, bytes calldata der)
        private
        pure
        returns (bool isAuthority, uint256 keyUsage, uint256 sgx, uint256 sgxEnd)
    {
        bool hasConstraints;
        uint256 pos = self.extensions;
        while (pos < self.extensionsEnd) {
            (uint256 identifier, bool critical, uint256 value, uint256 end) = extension(der, pos, self.extensionsEnd);
            bytes11 long = bytes11(LibBytes.loadCalldata(der, identifier));
            if (bytes5(long) == BASIC_CONSTRAINTS) {
                require(!hasConstraints, ExtensionRepeated(BASIC_CONSTRAINTS));
                (hasConstraints, isAuthority) = (true, _isAuthority(der, value, end));
            } else if (bytes5(long) == KEY_USAGE) {
                require(keyUsage == 0, ExtensionRepeated(KEY_USAGE));
                keyUsage = _keyUsage(der, value, end);
            } else if (long == SGX_EXTENSION) {
                require(sgx == 0, ExtensionRepeated(SGX_EXTENSION));
                (sgx, sgxEnd) = (value, end);
            } else {
                require(!critical, ExtensionUnknown(pos));
            }
            pos = end;
        }
        require(hasConstraints, ExtensionMissing(BASIC_CONSTRAINTS));
        require(keyUsage != 0, ExtensionMissing(KEY_USAGE));
    }

    /// @dev BasicConstraints: an empty SEQUENCE, or one that begins with TRUE and may go on with a path length.
    function _isAuthority(bytes calldata der, uint256 pos, uint256 limit) private pure returns (bool) {
        (uint256 start, uint256 end) = der.open(pos, limit, Der.SEQUENCE);
        require(end == limit, Der.DerMalformed(end));
        if (start == end) return false;
        (uint256 flag, uint256 next) = der.open(start, end, Der.BOOLEAN);
        require(next - flag == 1 && der[flag] == 0xff, Der.DerMalformed(flag));
        if (next != end) (, next) = der.unsigned(next, end);
        require(next == end, Der.DerMalformed(next));
        return true;
    }

    /// @dev The first eight bits of KeyUsage; the ninth, decipherOnly, is of no use here.
    function _keyUsage(bytes calldata der, uint256 pos, uint256 limit) private pure returns (uint256 bits) {
        (uint256 start, uint256 end) = der.open(pos, limit, Der.BIT_STRING);
        require(end == limit && end - start >= 2 && end - start <= 3, Der.DerMalformed(start));
        bits = uint8(der[start + 1]);
        require(bits != 0, Der.DerMalformed(start));
    }
}
