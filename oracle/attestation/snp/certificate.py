"""
What AMD's certificates say about a chip and its firmware, in the extensions under 1.3.6.1.4.1.3704.1.

Source: Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification (AMD 57230), section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from oracle.attestation import der
from oracle.attestation.snp.report import VCEK, VLEK, SnpTcb
from oracle.attestation.x509 import name_of, reading
from oracle.errors import EncodingError

_BASE: Final = "1.3.6.1.4.1.3704.1"
_PRODUCT, _HARDWARE_ID, _CSP_ID = f"{_BASE}.2", f"{_BASE}.4", f"{_BASE}.5"
_BOOTLOADER, _TEE, _SNP, _MICROCODE, _FMC = (f"{_BASE}.3.{number}" for number in (1, 2, 3, 8, 9))
_ALIASES: Final = {"Siena": "Genoa", "Bergamo": "Genoa"}  # other dies of one generation, under one root
_KEY_NAMES: Final = {"SEV-VCEK": VCEK, "SEV-VLEK": VLEK}


@dataclass(frozen=True, slots=True)
class SnpKey:
    """The key that signs reports: which firmware it stands for, and for VCEKs which chip."""

    signing_key: int  # VCEK or VLEK
    product: str  # Milan, Genoa, Turin
    tcb: SnpTcb
    hardware_id: bytes | None  # 64 bytes; 8 bytes on Turin; None for a VLEK


def is_signing_key(certificate: x509.Certificate) -> bool:
    """Whether the certificate is called as AMD calls VCEKs and VLEKs."""
    return name_of(certificate) in _KEY_NAMES


def parse_key(certificate: x509.Certificate) -> SnpKey:
    """
    What the certificate of a VCEK or VLEK says. Its signature is the caller's to check.

    Raises:
        EncodingError: it is neither, or an extension is missing or malformed.
    """
    signing_key = _KEY_NAMES.get(name_of(certificate))
    if signing_key is None:
        raise EncodingError(f"{name_of(certificate)[:80]!r} is neither a VCEK nor a VLEK")
    with reading("the VCEK or VLEK"):
        extensions = {
            extension.oid.dotted_string: extension.value.value
            for extension in certificate.extensions
            if isinstance(extension.value, x509.UnrecognizedExtension)
        }
    bootloader, tee, snp, microcode = (_level(extensions, name) for name in (_BOOTLOADER, _TEE, _SNP, _MICROCODE))
    fmc = _level(extensions, _FMC) if _FMC in extensions else 0
    return SnpKey(
        signing_key,
        _product(extensions),
        SnpTcb(bootloader, tee, snp, microcode, fmc),
        _hardware_id(extensions) if signing_key == VCEK else None,
    )


def _level(extensions: dict[str, bytes], name: str) -> int:
    if name not in extensions:
        raise EncodingError(f"the VCEK or VLEK lacks the extension {name}")
    return der.unsigned(der.only(extensions[name], der.INTEGER), 1, f"extension {name}")


def _product(extensions: dict[str, bytes]) -> str:
    """`Milan-B0` names product and stepping; VLEKs have no stepping."""
    if _PRODUCT not in extensions:
        raise EncodingError("the VCEK or VLEK names no product")
    text = der.only(extensions[_PRODUCT], der.IA5_STRING)
    if not text.isascii():
        raise EncodingError("the product's name is not ASCII")
    name = text.decode().split("-")[0]
    return _ALIASES.get(name, name)


def _hardware_id(extensions: dict[str, bytes]) -> bytes:
    content = extensions.get(_HARDWARE_ID, b"")
    if len(content) not in (8, 64):  # AMD writes the bytes as they are; be ready for a proper OCTET STRING
        content = der.only(content, der.OCTET_STRING) if content else b""
    if len(content) not in (8, 64):
        raise EncodingError("the VCEK names no chip")
    return content
