"""
The bodies of quotes, field by field: SGX enclave report, TD report 1.0 and 1.5.

    SGX   0 CPUSVN 16 | 16 MISCSELECT 4 | 32 ISVEXTPRODID 16 | 48 ATTRIBUTES flags 8 | 56 XFRM 8 | 64 MRENCLAVE 32
          128 MRSIGNER 32 | 192 CONFIGID 64 | 256 ISVPRODID 2 | 258 ISVSVN 2 | 260 CONFIGSVN 2 | 304 ISVFAMILYID 16
          320 REPORTDATA 64
    TD    0 TEE_TCB_SVN 16 | 16 MRSEAM 48 | 64 MRSIGNERSEAM 48 | 112 SEAMATTRIBUTES 8 | 120 TDATTRIBUTES 8
          128 XFAM 8 | 136 MRTD 48 | 184 MRCONFIGID 48 | 232 MROWNER 48 | 280 MROWNERCONFIG 48 | 328 RTMR0..3 4*48
          520 REPORTDATA 64; and in 1.5: 584 TEE_TCB_SVN_2 16 | 600 MR_SERVICE_TD 48

A report here is its bytes with names; its size is the caller's to know (384; 584 or 648).
Source: Intel SGX/TDX DCAP "Quote Formats"; TDX module ABI specification, ATTRIBUTES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SGX_REPORT_BYTES: Final = 384
TD_REPORT_15_BYTES: Final = 648
REPORT_DATA_BYTES: Final = 64
SGX_DEBUG: Final = 1 << 1
TD_UNDER_DEBUG: Final = 0xFF  # the whole TUD byte
TD_SEPT_VE_DISABLE: Final = 1 << 28
# known besides: PKS (30), KL (31), PERFMON (63). Set bits of another meaning, migration (29) among them, are refused
TD_RESERVED: Final = sum(1 << bit for bit in (*range(8, 28), 29, *range(32, 63)))


@dataclass(frozen=True, slots=True)
class SgxReport:
    """What the processor says about an enclave."""

    content: bytes

    @property
    def cpu_svn(self) -> bytes:
        """Security versions of the processor."""
        return self.content[:16]

    @property
    def misc_select(self) -> bytes:
        """Which extended features the enclave's exception frames have."""
        return self.content[16:20]

    @property
    def attributes(self) -> bytes:
        """Flags and XFRM."""
        return self.content[48:64]

    @property
    def is_debug(self) -> bool:
        """Whether the host may read the enclave's memory."""
        return bool(self.attributes[0] & SGX_DEBUG)

    @property
    def mr_enclave(self) -> bytes:
        """Hash of the enclave's initial memory."""
        return self.content[64:96]

    @property
    def mr_signer(self) -> bytes:
        """Hash of the key that signed the enclave."""
        return self.content[128:160]

    @property
    def isv_prod_id(self) -> int:
        """Product number, chosen by the signer."""
        return int.from_bytes(self.content[256:258], "little")

    @property
    def isv_svn(self) -> int:
        """Security version, chosen by the signer."""
        return int.from_bytes(self.content[258:260], "little")

    @property
    def report_data(self) -> bytes:
        """What the enclave chose."""
        return self.content[320:384]


@dataclass(frozen=True, slots=True)
class TdReport:
    """What the TDX module says about a trust domain."""

    content: bytes

    @property
    def tee_tcb_svn(self) -> bytes:
        """Security versions: of the TDX module [0], its major version [1], of the loader [2], and reserved ones."""
        return self.content[:16]

    @property
    def mr_seam(self) -> bytes:
        """Hash of the TDX module."""
        return self.content[16:64]

    @property
    def mr_signer_seam(self) -> bytes:
        """Hash of the key that signed the TDX module; zero is Intel's."""
        return self.content[64:112]

    @property
    def seam_attributes(self) -> bytes:
        """Attributes of the TDX module."""
        return self.content[112:120]

    @property
    def td_attributes(self) -> int:
        """Attributes of the trust domain."""
        return int.from_bytes(self.content[120:128], "little")

    @property
    def is_debug(self) -> bool:
        """Whether the host may read the domain's memory, or the bits that could mean that are not zero."""
        return bool(self.td_attributes & TD_UNDER_DEBUG)

    @property
    def is_sept_ve_disabled(self) -> bool:
        """Whether the host is kept from injecting exceptions by unmapping memory."""
        return bool(self.td_attributes & TD_SEPT_VE_DISABLE)

    @property
    def has_reserved_attributes(self) -> bool:
        """Whether attributes are set whose meaning is not known."""
        return bool(self.td_attributes & TD_RESERVED)

    @property
    def mr_td(self) -> bytes:
        """Hash of the domain's initial memory."""
        return self.content[136:184]

    @property
    def rtmrs(self) -> tuple[bytes, ...]:
        """The four registers that the domain extended while it booted."""
        return tuple(self.content[at : at + 48] for at in range(328, 520, 48))

    @property
    def report_data(self) -> bytes:
        """What the domain chose."""
        return self.content[520:584]

    @property
    def mr_service_td(self) -> bytes:
        """Hash of a service domain bound to this one, such as for migration; none before report 1.5."""
        return self.content[600:648]
