"""
AWS's side of Nitro enclaves: a chain of five certificates and attestation documents, under a development root.

A document is an untagged COSE_Sign1 (ES384) whose payload is an indefinite-length CBOR map, as the Nitro security
module writes it. Leaves live for three hours around the document's time, as AWS's do.

Source: AWS Nitro Enclaves, "Attestation process" (aws-nitro-enclaves-nsm-api, docs/attestation_process.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from oracle.attestation.development.collateral import NEW_S
from oracle.attestation.development.keys import DEVELOPMENT_SEED, bytes_of, p384_key, sign_p384

ORGANISATION: Final = "DEVELOPMENT ONLY - NOT AMAZON"
PCRS: Final = 16
_PROTECTED: Final = cbor2.dumps({1: -35})  # ES384
_ROOT_FROM_S, _ROOT_UNTIL_S = 1_572_269_285, 2_519_044_085  # as AWS's: 2019-10-28 to 2049-10-28
_HOUR_S: Final = 3600
_LEAF_S: Final = 3 * _HOUR_S
# name, lives for, path length
_INTERMEDIATES: Final = (
    ("{}.development.nitro-enclaves", 20 * 24 * _HOUR_S, 2),
    ("{}.zonal.development.nitro-enclaves", 6 * 24 * _HOUR_S, 1),
    ("{}.instance.development.nitro-enclaves", 24 * _HOUR_S, 0),
)


@dataclass(frozen=True)
class DevelopmentNitro:
    """One enclave on one machine, and AWS behind it. All bytes depend on the fields and arguments alone."""

    seed: bytes = DEVELOPMENT_SEED
    now_s: int = NEW_S
    number: int = 1  # which machine

    @property
    def module_id(self) -> str:
        """The name of instance and enclave."""
        instance = bytes_of(self.seed, f"instance {self.number}", 8).hex()
        return f"i-0{instance}-enc{bytes_of(self.seed, f'enclave {self.number}', 8).hex()}"

    @cached_property
    def root_key(self) -> ec.EllipticCurvePrivateKey:
        """The root's key."""
        return p384_key(self.seed, "nitro root")

    @cached_property
    def root(self) -> x509.Certificate:
        """The root of trust."""
        return _issue("aws.nitro-enclaves", self.root_key, None, (_ROOT_FROM_S, _ROOT_UNTIL_S), None)

    def chain(self, now_s: int) -> tuple[list[x509.Certificate], ec.EllipticCurvePrivateKey]:
        """Root first, leaf last, all valid at `now_s`; and the leaf's key."""
        chain, key = [self.root], self.root_key
        for depth, (name, seconds, path_length) in enumerate(_INTERMEDIATES):
            label = bytes_of(self.seed, f"nitro name {depth} {self.number}", 8).hex()
            own = p384_key(self.seed, f"nitro intermediate {depth} {self.number}")
            times = (now_s - _HOUR_S, now_s - _HOUR_S + seconds)
            chain.append(_issue(name.format(label), own, (chain[-1], key), times, path_length))
            key = own
        leaf = p384_key(self.seed, f"nitro leaf {self.number}")
        times = (now_s - 3, now_s + _LEAF_S)
        chain.append(_issue(f"{self.module_id}.development.aws", leaf, (chain[-1], key), times, -1))
        return chain, leaf

    def pcrs(self, build: bytes, *, is_debug: bool = False) -> dict[int, bytes]:
        """PCR 0 to 2 of a build: its hash in each, padded; all zero in debug mode, as in hardware."""
        own = bytes(48) if is_debug else build.ljust(48, b"\0")
        return {number: own if number < 3 else bytes(48) for number in range(PCRS)}

    def document(
        self,
        user_data: bytes | None,
        pcrs: dict[int, bytes],
        *,
        nonce: bytes | None = None,
        public_key: bytes | None = None,
        now_s: int | None = None,
        **changes: Any,
    ) -> bytes:
        """A signed document made at `now_s`. `changes` replace members of the payload."""
        now_s = self.now_s if now_s is None else now_s
        chain, key = self.chain(now_s)
        ders = [certificate.public_bytes(Encoding.DER) for certificate in chain]
        members = {
            "module_id": self.module_id,
            "digest": "SHA384",
            "timestamp": now_s * 1000 + 346,
            "pcrs": pcrs,
            "certificate": ders[-1],
            "cabundle": ders[:-1],
            "public_key": public_key,
            "user_data": user_data,
            "nonce": nonce,
            **changes,
        }
        payload = (
            b"\xbf" + b"".join(cbor2.dumps(name) + cbor2.dumps(value) for name, value in members.items()) + b"\xff"
        )
        r, s = sign_p384(key, cbor2.dumps(["Signature1", _PROTECTED, b"", payload]))
        return cbor2.dumps([_PROTECTED, {}, payload, r.to_bytes(48) + s.to_bytes(48)])


def _issue(
    common_name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    times: tuple[int, int],
    path_length: int | None,
) -> x509.Certificate:
    """A certificate; the path length None is the root's, -1 says that it is no authority."""
    name, is_authority = _name(common_name), path_length != -1
    from_s, until_s = (datetime.fromtimestamp(second, UTC) for second in times)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(identifier.digest[:16]) >> 1 | 1)
        .not_valid_before(from_s)
        .not_valid_after(until_s)
        .add_extension(x509.BasicConstraints(is_authority, path_length if is_authority else None), critical=True)
    )
    if issuer is not None and is_authority:
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key())
        builder = builder.add_extension(by, critical=False)
    if is_authority:
        builder = builder.add_extension(identifier, critical=False)
    builder = builder.add_extension(_key_usage(is_authority=is_authority), critical=is_authority)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA384(), ecdsa_deterministic=True)


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
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
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "DEV"),
        (NameOID.ORGANIZATION_NAME, ORGANISATION),
        (NameOID.COUNTRY_NAME, "US"),
    )
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])
