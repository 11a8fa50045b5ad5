"""
What a PCK certificate says about its machine, in Intel's X.509 extension 1.2.840.113741.1.13.1.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, section 1.3.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from oracle.attestation import der
from oracle.attestation.x509 import reading
from oracle.errors import EncodingError

SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
_COMPONENTS: Final = 16
_PPID, _TCB, _PCE_ID, _FMSPC, _SGX_TYPE, _INSTANCE = (f"{SGX_EXTENSION}.{number}" for number in (1, 2, 3, 4, 5, 6))


@dataclass(frozen=True, slots=True)
class PckIdentity:
    """Machine, model and firmware behind a PCK."""

    ppid: bytes  # 16 bytes: the machine
    pce_id: bytes  # 2 bytes
    fmspc: bytes  # 6 bytes: the model
    cpu_svn: bytes  # 16 component SVNs
    pce_svn: int
    sgx_type: int  # 0 standard, 1 scalable, 2 scalable with integrity
    platform_instance_id: bytes | None


def parse_pck(certificate: x509.Certificate) -> PckIdentity:
    """
    What the certificate says about its machine. Its signature is the caller's to check.

    Raises:
        EncodingError: there is no such extension, or it is not of the profile.
    """
    with reading("the PCK certificate"):
        extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(SGX_EXTENSION)).value
    if not isinstance(extension, x509.UnrecognizedExtension):
        raise EncodingError("the PCK certificate has no SGX extension")
    items = _items(der.only(extension.value, der.SEQUENCE))
    tcb = _items(_item(items, _TCB, der.SEQUENCE))
    numbered = [_item(tcb, f"{_TCB}.{number}", der.INTEGER) for number in range(1, _COMPONENTS + 1)]
    instance = items.get(_INSTANCE)
    return PckIdentity(
        ppid=_octets(items, _PPID, 16),
        pce_id=_octets(items, _PCE_ID, 2),
        fmspc=_octets(items, _FMSPC, 6),
        cpu_svn=bytes(der.unsigned(content, 1, "a component SVN") for content in numbered),
        pce_svn=der.unsigned(_item(tcb, f"{_TCB}.17", der.INTEGER), 2, "PCESVN"),
        sgx_type=der.unsigned(_item(items, _SGX_TYPE, der.ENUMERATED), 1, "SGX type"),
        platform_instance_id=None if instance is None else _octets(items, _INSTANCE, 16),
    )


def _items(content: bytes) -> dict[str, tuple[int, bytes]]:
    """SEQUENCE OF SEQUENCE {identifier, value} by identifier."""
    items: dict[str, tuple[int, bytes]] = {}
    for tag, pair in der.elements(content):
        parts = list(der.elements(pair)) if tag == der.SEQUENCE else []
        if len(parts) != 2 or parts[0][0] != der.OBJECT_IDENTIFIER:
            raise EncodingError("the SGX extension is not a sequence of identifiers and values")
        name = der.dotted(parts[0][1])
        if name in items:
            raise EncodingError(f"the SGX extension has {name} twice")
        items[name] = parts[1]
    return items


def _item(items: dict[str, tuple[int, bytes]], name: str, tag: int) -> bytes:
    found = items.get(name)
    if found is None or found[0] != tag:
        raise EncodingError(f"the SGX extension has no {name} of the right type")
    return found[1]


def _octets(items: dict[str, tuple[int, bytes]], name: str, size: int) -> bytes:
    content = _item(items, name, der.OCTET_STRING)
    if len(content) != size:
        raise EncodingError(f"{name} in the SGX extension has {len(content)} bytes, not {size}")
    return content
