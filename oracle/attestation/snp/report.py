"""
AMD SEV-SNP attestation reports, versions 2 and 3. Parsing decides nothing; whatever the bytes, it raises
`InvalidInputError` and nothing else.

    0 version 4 | 4 guest_svn 4 | 8 policy 8 | 16 family_id 16 | 32 image_id 16 | 48 vmpl 4 | 52 signature_algo 4
    56 current_tcb 8 | 64 platform_info 8 | 72 key flags 4 | 80 report_data 64 | 144 measurement 48 | 192 host_data 32
    224 id_key_digest 48 | 272 author_key_digest 48 | 320 report_id 32 | 352 report_id_ma 32 | 384 reported_tcb 8
    392 CPUID family, model, stepping (version 3) | 416 chip_id 64 | 480 committed_tcb 8 | 496 launch_tcb 8
    672 signature r 72 | 744 s 72 | 816 zeros to 1184

Source: SEV Secure Nested Paging Firmware ABI Specification (AMD 56860), table "ATTESTATION_REPORT". Little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oracle.errors import EncodingError

REPORT_BYTES: Final = 1_184
SIGNED_BYTES: Final = 672
CHIP_ID_BYTES: Final = 64
ECDSA_P384_SHA384: Final = 1
POLICY_MIGRATE: Final = 1 << 18
POLICY_DEBUG: Final = 1 << 19
VCEK: Final = 0
VLEK: Final = 1
_NUMBER_BYTES: Final = 72
_P384_BYTES: Final = 48
_VERSIONS: Final = (2, 3)
_TURIN: Final = "Turin"
# CPUID (family, first model, last model) -> product
_MODELS: Final = (
    (0x19, 0x00, 0x0F, "Milan"),
    (0x19, 0x10, 0x1F, "Genoa"),
    (0x19, 0xA0, 0xAF, "Genoa"),
    (0x1A, 0x00, 0x1F, _TURIN),
)


@dataclass(frozen=True, slots=True)
class SnpTcb:
    """Security patch levels of the firmware's parts. `fmc` is Turin's only."""

    bootloader: int = 0
    tee: int = 0
    snp: int = 0
    microcode: int = 0
    fmc: int = 0

    @classmethod
    def parse(cls, content: bytes, product: str) -> SnpTcb:
        """The levels in the 8 bytes of a TCB_VERSION; their places depend on the product."""
        if product == _TURIN:
            return cls(fmc=content[0], bootloader=content[1], tee=content[2], snp=content[3], microcode=content[7])
        return cls(bootloader=content[0], tee=content[1], snp=content[6], microcode=content[7])

    def reaches(self, least: SnpTcb) -> bool:
        """Whether no part is below `least`."""
        parts = ("bootloader", "tee", "snp", "microcode", "fmc")
        return all(getattr(self, part) >= getattr(least, part) for part in parts)


@dataclass(frozen=True, slots=True)
class SnpReport:
    """The report's bytes, with names."""

    content: bytes

    def _integer(self, at: int, size: int) -> int:
        return int.from_bytes(self.content[at : at + size], "little")

    @property
    def version(self) -> int:
        """Version of the format."""
        return self._integer(0, 4)

    @property
    def guest_svn(self) -> int:
        """The guest's version, chosen by its owner."""
        return self._integer(4, 4)

    @property
    def policy(self) -> int:
        """What the guest's owner allows the host."""
        return self._integer(8, 8)

    @property
    def is_debug(self) -> bool:
        """Whether the host may read the guest's memory."""
        return bool(self.policy & POLICY_DEBUG)

    @property
    def is_migratable(self) -> bool:
        """Whether a migration agent may move the guest, and so see its memory."""
        return bool(self.policy & POLICY_MIGRATE)

    @property
    def vmpl(self) -> int:
        """Privilege level of who asked for the report; 0 is the highest."""
        return self._integer(48, 4)

    @property
    def signature_algorithm(self) -> int:
        """1: ECDSA P-384 with SHA-384."""
        return self._integer(52, 4)

    @property
    def is_chip_key_masked(self) -> bool:
        """Whether the host has switched signing off."""
        return bool(self._integer(72, 4) & 2)

    @property
    def signing_key(self) -> int:
        """0 VCEK, 1 VLEK, 7 none."""
        return self._integer(72, 4) >> 2 & 7

    @property
    def report_data(self) -> bytes:
        """What the guest chose, 64 bytes."""
        return self.content[80:144]

    @property
    def measurement(self) -> bytes:
        """Hash of the guest's initial memory, 48 bytes."""
        return self.content[144:192]

    @property
    def host_data(self) -> bytes:
        """What the host chose at launch, 32 bytes."""
        return self.content[192:224]

    @property
    def reported_tcb(self) -> bytes:
        """TCB_VERSION that the signing key stands for, 8 bytes."""
        return self.content[384:392]

    @property
    def committed_tcb(self) -> bytes:
        """TCB_VERSION below which the firmware cannot be rolled back, 8 bytes."""
        return self.content[480:488]

    @property
    def product(self) -> str | None:
        """Milan, Genoa or Turin by CPUID; None before version 3 or if unknown."""
        if self.version < 3:
            return None
        family, model = self.content[392], self.content[393]
        return next((name for known, first, last, name in _MODELS if known == family and first <= model <= last), None)

    @property
    def chip_id(self) -> bytes:
        """Names the processor, 64 bytes; zero if the host masks it."""
        return self.content[416:480]

    @property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return self.content[:SIGNED_BYTES]

    @property
    def signature(self) -> tuple[int, int]:
        """The numbers r and s over P-384."""
        return self._integer(SIGNED_BYTES, _NUMBER_BYTES), self._integer(SIGNED_BYTES + _NUMBER_BYTES, _NUMBER_BYTES)


def parse_report(content: bytes) -> SnpReport:
    """
    The report that is `content`.

    Raises:
        EncodingError: not 1184 bytes, not of version 2 or 3, or something in the signature's zero padding.
    """
    if len(content) != REPORT_BYTES:
        raise EncodingError(f"an SEV-SNP report has {REPORT_BYTES} bytes, not {len(content)}")
    report = SnpReport(content)
    if report.version not in _VERSIONS:
        raise EncodingError(f"{report.version} is not an SEV-SNP report version that is understood (2, 3)")
    r_end, s_end = SIGNED_BYTES + _NUMBER_BYTES, SIGNED_BYTES + 2 * _NUMBER_BYTES
    paddings = (content[SIGNED_BYTES + _P384_BYTES : r_end], content[r_end + _P384_BYTES : s_end], content[s_end:])
    if any(padding.strip(b"\0") for padding in paddings):
        raise EncodingError("the padding of the SEV-SNP signature is not zero")
    return report
