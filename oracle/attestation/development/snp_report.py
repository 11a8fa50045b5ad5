"""
SEV-SNP attestation reports, version 2 (Milan) and 3 (Genoa, Turin): 672 signed bytes, and a signature of 512.

Source: AMD 56860, SEV Secure Nested Paging Firmware ABI, table "ATTESTATION_REPORT Structure". Little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from oracle.attestation.development.keys import sign_p384

SNP_REPORT_BYTES: Final = 1184
SNP_SIGNED_BYTES: Final = 672
SNP_POLICY: Final = 0x3_001F  # bit 17 must be one, SMT allowed, ABI 0.31: as ordinary guests have it
SNP_POLICY_DEBUG: Final = 1 << 19
SNP_POLICY_MIGRATE: Final = 1 << 18
_ECDSA_P384_SHA384: Final = 1
_SIGNATURE_PADDING: Final = 512 - 2 * 72
_LAYOUT: Final = "<IIQ16s16sIIQQII64s48s32s48s48s32s32sQ24s64sQ8sQ168x"


@dataclass(frozen=True, slots=True)
class SnpTcb:
    """Versions of the parts of the firmware. Turin has `fmc` and another order."""

    bootloader: int = 3
    tee: int = 0
    snp: int = 8
    microcode: int = 115
    fmc: int | None = None

    def encode(self) -> bytes:
        """Eight bytes, as reports carry them."""
        if self.fmc is not None:
            return bytes([self.fmc, self.bootloader, self.tee, self.snp, 0, 0, 0, self.microcode])
        return bytes([self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode])


@dataclass(frozen=True, slots=True)
class SnpReport:
    """What the secure processor says of a guest."""

    report_data: bytes = bytes(64)
    measurement: bytes = bytes(48)
    version: int = 2
    guest_svn: int = 0
    policy: int = SNP_POLICY
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    vmpl: int = 0
    platform_info: int = 1  # SMT
    key_info: int = 0  # bits 4:2 are 1 for a VLEK
    host_data: bytes = bytes(32)
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    report_id: bytes = b"\xad" * 32
    chip_id: bytes = bytes(64)
    tcb: SnpTcb = field(default_factory=SnpTcb)
    cpuid: bytes = b"\x19\x11\x01"  # family, model, stepping: version 3 only

    def encode(self) -> bytes:
        """The signed bytes."""
        tcb = int.from_bytes(self.tcb.encode(), "little")
        signature_kind, reserved, no_author = _ECDSA_P384_SHA384, 0, b"\xff" * 32
        return struct.pack(
            _LAYOUT,
            self.version,
            self.guest_svn,
            self.policy,
            self.family_id,
            self.image_id,
            self.vmpl,
            signature_kind,
            tcb,
            self.platform_info,
            self.key_info,
            reserved,
            self.report_data,
            self.measurement,
            self.host_data,
            self.id_key_digest,
            self.author_key_digest,
            self.report_id,
            no_author,
            tcb,
            self.cpuid if self.version >= 3 else b"",
            self.chip_id,
            tcb,
            bytes.fromhex("0434010004340100"),  # firmware builds, current and committed
            tcb,
        )

    def sign(self, key: ec.EllipticCurvePrivateKey) -> bytes:
        """The report with its signature: r and s as 72 little-endian bytes each."""
        body = self.encode()
        r, s = sign_p384(key, body)
        return body + r.to_bytes(72, "little") + s.to_bytes(72, "little") + bytes(_SIGNATURE_PADDING)
