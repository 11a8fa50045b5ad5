"""
Intel's certificates under a development root: root, PCK authorities, TCB signer, PCKs, and revocation lists.

Same fields, extensions, order and common names as Intel's own, because verifiers pin them; the organisation is another.
As Intel does it, a certificate's serial number is its subject key identifier. Validity does not depend on the clock, so
that a certificate is the same whenever it is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from oracle.attestation.development.keys import p256_key
from oracle.attestation.development.platform import SGX_EXTENSION, PckAuthority, Platform

ORGANISATION: Final = "DEVELOPMENT ONLY - NOT INTEL"
_ROOT_CRL_URL: Final = "https://certificates.development.invalid/IntelSGXRootCA.der"
_PCK_CRL_URL: Final = "https://certificates.development.invalid/sgx/certification/v4/pckcrl?ca={}&encoding=der"
_COMMON_NAME: Final = {
    PckAuthority.PLATFORM: "Intel SGX PCK Platform CA",
    PckAuthority.PROCESSOR: "Intel SGX PCK Processor CA",
}


@dataclass(frozen=True, slots=True)
class Validity:
    """From and until when, unix seconds."""

    not_before_s: int = 1_526_899_510  # 2018-05-21T10:45:10Z, as Intel's root
    not_after_s: int = 2_524_607_999  # 2049-12-31T23:59:59Z, as Intel's root


LONG: Final = Validity()


@dataclass(frozen=True)
class Authority:
    """A certificate and the key that it certifies."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @cached_property
    def der(self) -> bytes:
        """The certificate, DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @cached_property
    def pem(self) -> bytes:
        """The certificate, PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def revocation_list(self, this_update_s: int, next_update_s: int, revoked: Iterable[int] = ()) -> bytes:
        """A CRL that this authority issued, DER. Like all of Intel's it has the number 1."""
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(_time(this_update_s))
            .next_update(_time(next_update_s))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(issuer, critical=False)
        )
        reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_time(this_update_s))
            builder = builder.add_revoked_certificate(entry.add_extension(reason, critical=False).build())
        return builder.sign(self.key, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def make_root(seed: bytes, validity: Validity = LONG) -> Authority:
    """The root of trust."""
    key = p256_key(seed, "root")
    return _issue("Intel SGX Root CA", key, None, validity, _ROOT_CRL_URL, path_length=1)


def make_pck_authority(seed: bytes, root: Authority, kind: PckAuthority, validity: Validity = LONG) -> Authority:
    """The platform or processor authority."""
    key = p256_key(seed, f"{kind.value} authority")
    return _issue(_COMMON_NAME[kind], key, root, validity, _ROOT_CRL_URL, path_length=0)


def make_tcb_signer(seed: bytes, root: Authority, validity: Validity = LONG) -> Authority:
    """Who signs TCB info and QE identities."""
    return _issue("Intel SGX TCB Signing", p256_key(seed, "TCB signer"), root, validity, _ROOT_CRL_URL)


def make_pck(seed: bytes, authority: Authority, platform: Platform, validity: Validity = LONG) -> Authority:
    """A machine's provisioning certification key."""
    key = p256_key(seed, f"PCK {platform.ppid.hex()} {bytes(platform.cpu_svn).hex()} {platform.pce_svn}")
    url = _PCK_CRL_URL.format(platform.authority.value)
    return _issue("Intel SGX PCK Certificate", key, authority, validity, url, extension=platform.sgx_extension())


def _issue(
    common_name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: Authority | None,
    validity: Validity,
    crl_url: str,
    *,
    path_length: int | None = None,
    extension: bytes | None = None,
) -> Authority:
    """A certificate for `key`; an authority's if it has a path length; signed by itself if it has no issuer."""
    name, public_key, signer = _name(common_name), key.public_key(), issuer.key if issuer else key
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(public_key)
        .serial_number(_serial(identifier))
        .not_valid_before(_time(validity.not_before_s))
        .not_valid_after(_time(validity.not_after_s))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.CRLDistributionPoints([point]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(_key_usage(is_authority=path_length is not None), critical=True)
        .add_extension(x509.BasicConstraints(path_length is not None, path_length), critical=True)
    )
    if extension is not None:
        wanted = x509.UnrecognizedExtension(x509.ObjectIdentifier(SGX_EXTENSION), extension)
        builder = builder.add_extension(wanted, critical=False)
    return Authority(builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=True), key)


def _serial(identifier: x509.SubjectKeyIdentifier) -> int:
    """The key identifier as a number of at most 159 bits, which is all that `cryptography` writes."""
    return int.from_bytes(identifier.digest) & (1 << 159) - 1


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=not is_authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    parts = (
        (NameOID.COMMON_NAME, common_name),
        (NameOID.ORGANIZATION_NAME, ORGANISATION),
        (NameOID.LOCALITY_NAME, "Nowhere"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.COUNTRY_NAME, "US"),
    )
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])


def _time(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
