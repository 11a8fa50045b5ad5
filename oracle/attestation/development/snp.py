"""
AMD's side of SEV-SNP for one development machine: ARK, ASK, VCEK or VLEK, CRL, certificate table and signed reports.

Fields, order of names, extensions and signature schemes are AMD's; the organisation is another. Root and intermediate
are RSA-4096, whose keys are drawn anew for each `DevelopmentSnp` (their signatures are salted anyway); chip keys come
from the seed.

Source: AMD 57230, Versioned Chip Endorsement Key Certificate and KDS Interface Specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from oracle.attestation.development.der import ia5_string, integer
from oracle.attestation.development.keys import DEVELOPMENT_SEED, bytes_of, p384_key
from oracle.attestation.development.snp_report import SnpReport, SnpTcb

ORGANISATION: Final = "DEVELOPMENT ONLY - NOT AMD"
_EXTENSIONS: Final = "1.3.6.1.4.1.3704.1"
_NOT_BEFORE: Final = datetime(2020, 10, 22, 17, 23, 5, tzinfo=UTC)
_NOT_AFTER: Final = datetime(2045, 10, 22, 17, 23, 5, tzinfo=UTC)
_CRL_URL: Final = "https://kds.development.invalid/vcek/v1/{}/crl"
_TABLE_IDS: Final = {
    "ark": UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae"),
    "ask": UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782"),
    "vcek": UUID("63da758d-e664-4564-adc5-f4b93be8accd"),
    "vlek": UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1"),
}
_VLEK_IN_KEY_INFO: Final = 1 << 2
_STEPPINGS: Final = {"Milan": "Milan-B0", "Genoa": "Genoa-B1", "Turin": "Turin-C1"}
_SALTED: Final = padding.PSS(padding.MGF1(hashes.SHA384()), 48)


def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 4096)


@dataclass(frozen=True)
class DevelopmentSnp:
    """One machine, and AMD behind it. `is_vlek`: reports are signed by a cloud's loaded key, not by the chip's."""

    seed: bytes = DEVELOPMENT_SEED
    product: str = "Milan"
    number: int = 1  # which machine
    tcb: SnpTcb = field(default_factory=SnpTcb)
    is_vlek: bool = False
    ark_key: rsa.RSAPrivateKey = field(default_factory=_rsa_key, repr=False, compare=False)
    ask_key: rsa.RSAPrivateKey = field(default_factory=_rsa_key, repr=False, compare=False)

    @property
    def chip_id(self) -> bytes:
        """The machine's identity, 64 bytes."""
        return bytes_of(self.seed, f"chip {self.product} {self.number}", 64)

    @cached_property
    def ark(self) -> x509.Certificate:
        """AMD's root of the product."""
        name = _name(f"ARK-{self.product}")
        builder = _builder(name, name, self.ark_key.public_key(), 0x1_0000)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.ark_key.public_key())
        return self._signed(
            builder.add_extension(_key_usage(crl_sign=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(self._crl_point(), critical=False),
            self.ark_key,
        )

    @cached_property
    def ask(self) -> x509.Certificate:
        """The intermediate: ASK, or ASVK for loaded keys."""
        name = _name(f"SEV-VLEK-{self.product}" if self.is_vlek else f"SEV-{self.product}")
        public_key = self.ask_key.public_key()
        builder = _builder(name, self.ark.subject, public_key, 0x1_0101 if self.is_vlek else 0x1_0001)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ark_key.public_key())
        return self._signed(
            builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(issuer, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(crl_sign=False), critical=True)
            .add_extension(self._crl_point(), critical=False),
            self.ark_key,
        )

    @cached_property
    def leaf_key(self) -> ec.EllipticCurvePrivateKey:
        """The key that signs reports. As in hardware, it changes with the firmware's versions."""
        what = "VLEK" if self.is_vlek else f"VCEK {self.chip_id.hex()}"
        return p384_key(self.seed, f"{what} {self.product} {self.tcb.encode().hex()}")

    @cached_property
    def leaf(self) -> x509.Certificate:
        """The VCEK or VLEK."""
        name = _name("SEV-VLEK" if self.is_vlek else "SEV-VCEK")
        builder = _builder(name, self.ask.subject, self.leaf_key.public_key(), 1)
        for number, content in self._extensions():
            oid = x509.ObjectIdentifier(f"{_EXTENSIONS}.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, content), critical=False)
        return self._signed(builder, self.ask_key)

    def _extensions(self) -> list[tuple[str, bytes]]:
        tcb = self.tcb
        svns = {1: tcb.bootloader, 2: tcb.tee, 4: 0, 5: 0, 6: 0, 7: 0, 3: tcb.snp, 8: tcb.microcode}
        if tcb.fmc is not None:
            svns[9] = tcb.fmc
        product = self.product if self.is_vlek else _STEPPINGS[self.product]
        last = ("5", ia5_string("development cloud")) if self.is_vlek else ("4", self.chip_id)
        versions = [(f"3.{number}", integer(svn)) for number, svn in svns.items()]
        return [("1", integer(0)), ("2", ia5_string(product)), *versions, last]

    def revocation_list(self, this_update_s: int, next_update_s: int, revoked: Iterable[int] = ()) -> bytes:
        """The root's CRL, DER."""
        start = datetime.fromtimestamp(this_update_s, UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.ark.subject)
            .last_update(start)
            .next_update(datetime.fromtimestamp(next_update_s, UTC))
            .add_extension(x509.CRLNumber(4), critical=False)
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(start)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.ark_key, hashes.SHA384(), rsa_padding=_SALTED).public_bytes(Encoding.DER)

    def report(self, report_data: bytes, measurement: bytes = bytes(48), **fields: Any) -> bytes:
        """A signed report of a guest on this machine."""
        own = {
            "version": 2 if self.product == "Milan" else 3,
            "chip_id": self.chip_id,
            "tcb": self.tcb,
            "key_info": _VLEK_IN_KEY_INFO if self.is_vlek else 0,
            "report_data": report_data.ljust(64, b"\0"),
            "measurement": measurement,
        }
        return SnpReport(**{**own, **fields}).sign(self.leaf_key)

    def certificates(self) -> dict[str, bytes]:
        """The chain by name, DER."""
        leaf = "vlek" if self.is_vlek else "vcek"
        chain = {"ark": self.ark, "ask": self.ask, leaf: self.leaf}
        return {name: certificate.public_bytes(Encoding.DER) for name, certificate in chain.items()}

    def certificate_table(self) -> bytes:
        """The chain as hosts hand it to guests: configfs-tsm's `auxblob`. Entries (GUID, offset, size), then data."""
        certificates = self.certificates()
        offset, entries = (len(certificates) + 1) * 24, b""
        for name, der in certificates.items():
            entries += _TABLE_IDS[name].bytes + struct.pack("<II", offset, len(der))
            offset += len(der)
        return entries + bytes(24) + b"".join(certificates.values())

    def _crl_point(self) -> x509.CRLDistributionPoints:
        url = x509.UniformResourceIdentifier(_CRL_URL.format(self.product))
        return x509.CRLDistributionPoints([x509.DistributionPoint([url], None, None, None)])

    @staticmethod
    def _signed(builder: x509.CertificateBuilder, key: rsa.RSAPrivateKey) -> x509.Certificate:
        return builder.sign(key, hashes.SHA384(), rsa_padding=_SALTED)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, serial: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )


def _name(common_name: str) -> x509.Name:
    parts = (
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.LOCALITY_NAME, "Nowhere"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.ORGANIZATION_NAME, ORGANISATION),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])


def _key_usage(*, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
