"""
Certificates and revocation lists: reading them, and the checks that every chain of every vendor needs.

Reading raises `InvalidInputError` whatever the bytes. Checks raise `NotGenuineError`, `RevokedError` or
`CollateralError`. Chains run from the leaf to the root; whether the root is to be trusted is the caller's to decide.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID

from oracle.attestation.errors import CollateralError, NotGenuineError, RevokedError
from oracle.attestation.reader import require_size
from oracle.errors import EncodingError, LimitExceededError

MAX_CHAIN_BYTES: Final = 65_536
MAX_CHAIN_CERTIFICATES: Final = 8
MAX_CRL_BYTES: Final = 1_048_576
_PEM_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")
_UNREADABLE: Final = (
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)

warnings.filterwarnings("ignore", module=__name__)  # AMD's serial numbers are zero; what matters is checked below


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What the keys and signatures of one vendor's chain look like; anything else is refused."""

    signature: x509.ObjectIdentifier
    hash_name: str
    curve: str | None  # None: RSA
    rsa_bits: int = 4096


INTEL_RULES: Final = KeyRules(SignatureAlgorithmOID.ECDSA_WITH_SHA256, "sha256", "secp256r1")
AWS_RULES: Final = KeyRules(SignatureAlgorithmOID.ECDSA_WITH_SHA384, "sha384", "secp384r1")
AMD_RULES: Final = KeyRules(SignatureAlgorithmOID.RSASSA_PSS, "sha384", None)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what `cryptography` raises for bytes that it cannot read into `EncodingError`."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, *_UNREADABLE) as error:
        raise EncodingError(f"{what} cannot be read: {error}"[:300]) from error


def fingerprint(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate, 32 bytes."""
    return hashlib.sha256(der_of(certificate)).digest()


def der_of(certificate: x509.Certificate) -> bytes:
    """The certificate's bytes."""
    return certificate.public_bytes(Encoding.DER)


def read_certificate(der: bytes, what: str) -> x509.Certificate:
    """
    The one certificate in DER bytes.

    Raises:
        EncodingError: not a certificate, of version 1 or 2, or with parts that cannot be read.
        LimitExceededError: over 64 KiB.
    """
    require_size(der, MAX_CHAIN_BYTES, what)
    with reading(what):
        certificate = x509.load_der_x509_certificate(der)
        _touch(certificate)
    return certificate


def read_chain(pem: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """
    The certificates in PEM text, in their order. White space and zero bytes may stand between them.

    Raises:
        EncodingError: none, something else in between, or one that cannot be read.
        LimitExceededError: over 64 KiB or 8 certificates.
    """
    require_size(pem, MAX_CHAIN_BYTES, what)
    if _PEM_CERTIFICATE.sub(b"", pem).strip(b"\0 \t\r\n"):
        raise EncodingError(f"{what} is not a sequence of PEM certificates")
    blocks = _PEM_CERTIFICATE.findall(pem)
    if not blocks:
        raise EncodingError(f"{what} has no PEM certificate")
    if len(blocks) > MAX_CHAIN_CERTIFICATES:
        raise LimitExceededError(f"{what} (certificates)", MAX_CHAIN_CERTIFICATES, len(blocks))
    with reading(what):
        chain = tuple(x509.load_pem_x509_certificate(block) for block in blocks)
        for certificate in chain:
            _touch(certificate)
    return chain


def read_crl(der: bytes, what: str) -> x509.CertificateRevocationList:
    """The revocation list in DER bytes. Raises as `read_certificate`; the limit is 1 MiB."""
    require_size(der, MAX_CRL_BYTES, what)
    with reading(what):
        crl = x509.load_der_x509_crl(der)
        if crl.next_update_utc is None:
            raise EncodingError(f"{what} does not say when it expires")
        _ = (crl.issuer, crl.last_update_utc, crl.signature_hash_algorithm, list(crl.extensions))
    return crl


def pem_of(chain: Iterable[x509.Certificate]) -> str:
    """The certificates as PEM text."""
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain)


def seconds(moment: datetime) -> int:
    """Unix seconds."""
    return int(moment.timestamp())


def expiry_s(crl: x509.CertificateRevocationList) -> int:
    """When the list expires, unix seconds."""
    assert crl.next_update_utc is not None  # read_crl refuses lists without
    return seconds(crl.next_update_utc)


def check_issued(child: x509.Certificate, issuer: x509.Certificate, rules: KeyRules, what: str) -> None:
    """
    `issuer` signed `child`, by its key and by name, with the algorithms of `rules`.

    Raises:
        NotGenuineError: it did not.
    """
    if child.signature_algorithm_oid != rules.signature or _hash_name(child) != rules.hash_name:
        raise NotGenuineError(f"{what} is signed with another algorithm than its vendor uses")
    check_key(issuer, rules, f"the issuer of {what}")
    try:
        child.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise NotGenuineError(f"{what} is not signed by its issuer") from error


def check_key(certificate: x509.Certificate, rules: KeyRules, what: str) -> None:
    """The certified key is of the kind that `rules` name. Raises `NotGenuineError`."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        is_expected = key.curve.name == rules.curve
    else:
        is_expected = rules.curve is None and isinstance(key, rsa.RSAPublicKey) and key.key_size == rules.rsa_bits
    if not is_expected:
        raise NotGenuineError(f"{what} has a key of another kind than its vendor uses")


def check_authority(certificate: x509.Certificate, what: str, depth: int) -> None:
    """
    `certificate` may sign certificates, with `depth` authorities below it.

    Raises:
        NotGenuineError: it may not.
    """
    with reading(what):
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    allowed_depth = constraints.path_length
    if not constraints.ca or not usage.key_cert_sign or (allowed_depth is not None and allowed_depth < depth):
        raise NotGenuineError(f"{what} is not a certificate authority")


def check_not_authority(certificate: x509.Certificate, what: str) -> None:
    """`certificate` may not sign certificates. Raises `NotGenuineError`."""
    with reading(what):
        for extension in certificate.extensions:
            if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
                raise NotGenuineError(f"{what} is a certificate authority, and should not be one")


def check_chain(
    chain: Sequence[x509.Certificate], now_s: int, rules: KeyRules, what: str, *, is_leaf_authority: bool = False
) -> None:
    """
    Each certificate of `chain`, leaf first, is valid now and signed by the next; the last signed itself; all but the
    leaf are authorities, and the leaf is none unless that is said. Left to the caller: whether the last is trusted, and
    revocation.

    Raises:
        NotGenuineError: a signature or a role is wrong.
        CollateralError: one is not valid at `now_s`.
    """
    for depth, (child, issuer) in enumerate(zip(chain, (*chain[1:], chain[-1]), strict=True)):
        check_issued(child, issuer, rules, f"{what}, certificate {depth}")
        check_dates(child, now_s, f"{what}, certificate {depth}")
        if depth:
            check_authority(child, f"{what}, certificate {depth}", depth - 1)
    if is_leaf_authority:
        check_authority(chain[0], f"{what}, certificate 0", 0)
    else:
        check_not_authority(chain[0], f"{what}, certificate 0")


def check_dates(certificate: x509.Certificate, now_s: int, what: str) -> None:
    """The certificate is valid at `now_s`. Raises `CollateralError`."""
    check_window(seconds(certificate.not_valid_before_utc), seconds(certificate.not_valid_after_utc), now_s, what)


def check_window(first_s: int, last_s: int, now_s: int, what: str) -> None:
    """
    `first_s <= now_s <= last_s`.

    Raises:
        CollateralError: it is not.
    """
    if not first_s <= now_s <= last_s:
        state = "not valid yet" if now_s < first_s else "expired"
        raise CollateralError(f"{what} is {state}: {_date(first_s)} to {_date(last_s)}, now {_date(now_s)}")


def check_crl(crl: x509.CertificateRevocationList, issuer: x509.Certificate, now_s: int, what: str) -> None:
    """
    `issuer` signed the list, and the list is valid now.

    Raises:
        NotGenuineError: somebody else signed it.
        CollateralError: it is not valid at `now_s`.
    """
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    with reading(what):
        is_signed = crl.issuer == issuer.subject and crl.is_signature_valid(key)
    if not is_signed:
        raise NotGenuineError(f"{what} is not signed by {shown(issuer.subject)}")
    check_window(seconds(crl.last_update_utc), expiry_s(crl), now_s, what)


def check_not_revoked(certificate: x509.Certificate, crl: x509.CertificateRevocationList, what: str) -> None:
    """The list does not name the certificate. Raises `RevokedError`."""
    with reading(what):
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is not None:
        raise RevokedError(f"{what} is revoked, serial number {certificate.serial_number:#x}")


def name_of(certificate: x509.Certificate) -> str:
    """The common name, or all of the name."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def shown(name: x509.Name) -> str:
    """The name for a message: strangers wrote it, so without anything that a terminal would obey."""
    return ascii(name.rfc4514_string()[:120])


def _touch(certificate: x509.Certificate) -> None:
    """Parse what `cryptography` would parse later, so that reading is where hostile bytes end."""
    if certificate.version is not x509.Version.v3:
        raise ValueError("not an X.509 version 3 certificate")
    _ = (certificate.subject, certificate.issuer, certificate.serial_number, certificate.public_key())
    _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc, list(certificate.extensions))
    _hash_name(certificate)


def _hash_name(certificate: x509.Certificate) -> str | None:
    algorithm = certificate.signature_hash_algorithm
    return None if algorithm is None else algorithm.name


def _date(unix_s: int) -> str:
    try:
        return datetime.fromtimestamp(unix_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{unix_s} s"
