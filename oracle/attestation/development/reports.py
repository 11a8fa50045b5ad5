"""
Report bodies as the processor writes them: SGX enclave report, TD report 1.0 and 1.5.

Source: Intel SGX/TDX DCAP Quote Generation and Verification Library, "Quote Formats". All integers little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

SGX_REPORT_BYTES: Final = 384
TD_REPORT_10_BYTES: Final = 584
TD_REPORT_15_BYTES: Final = 648
SGX_DEBUG: Final = 1 << 1
TD_DEBUG: Final = 1 << 0
TD_SEPT_VE_DISABLE: Final = 1 << 28
_SGX_FLAGS: Final = 0x05  # INIT, MODE64BIT
_XFRM: Final = 0xE7


@dataclass(frozen=True, slots=True)
class SgxReport:
    """
    The 384 bytes that describe an enclave.

        0 cpu_svn 16 | 16 misc_select 4 | 20 - 12 | 32 ext_prod_id 16 | 48 flags 8 | 56 xfrm 8 | 64 mr_enclave 32
        96 - 32 | 128 mr_signer 32 | 160 - 32 | 192 config_id 64 | 256 prod_id 2 | 258 svn 2
        260 config_svn 2 | 262 - 42 | 304 family_id 16 | 320 report_data 64
    """

    report_data: bytes = bytes(64)
    mr_enclave: bytes = bytes(32)
    mr_signer: bytes = bytes(32)
    cpu_svn: bytes = bytes(16)
    misc_select: int = 0
    flags: int = _SGX_FLAGS
    xfrm: int = _XFRM
    prod_id: int = 0
    svn: int = 0
    config_id: bytes = bytes(64)
    config_svn: int = 0
    ext_prod_id: bytes = bytes(16)
    family_id: bytes = bytes(16)

    def encode(self) -> bytes:
        """The bytes."""
        return struct.pack(
            "<16sI12x16sQQ32s32x32s32x64sHHH42x16s64s",
            self.cpu_svn,
            self.misc_select,
            self.ext_prod_id,
            self.flags,
            self.xfrm,
            self.mr_enclave,
            self.mr_signer,
            self.config_id,
            self.prod_id,
            self.svn,
            self.config_svn,
            self.family_id,
            self.report_data,
        )


@dataclass(frozen=True, slots=True)
class TdReport:
    """
    What describes a trust domain: 584 bytes, in version 1.5 followed by two more fields.

        0 tee_tcb_svn 16 | 16 mr_seam 48 | 64 mr_signer_seam 48 | 112 seam_attributes 8 | 120 td_attributes 8
        128 xfam 8 | 136 mr_td 48 | 184 mr_config_id 48 | 232 mr_owner 48 | 280 mr_owner_config 48 | 328 rtmr0-3 4 x 48
        520 report_data 64 | 1.5: 584 tee_tcb_svn_2 16 | 600 mr_service_td 48
    """

    report_data: bytes = bytes(64)
    mr_td: bytes = bytes(48)
    tee_tcb_svn: bytes = bytes(16)
    mr_seam: bytes = bytes(48)
    mr_signer_seam: bytes = bytes(48)
    seam_attributes: int = 0
    td_attributes: int = TD_SEPT_VE_DISABLE
    xfam: int = 0x602E7
    mr_config_id: bytes = bytes(48)
    mr_owner: bytes = bytes(48)
    mr_owner_config: bytes = bytes(48)
    rtmrs: tuple[bytes, bytes, bytes, bytes] = (bytes(48),) * 4
    tee_tcb_svn_2: bytes = bytes(16)
    mr_service_td: bytes = bytes(48)

    def encode(self, *, is_15: bool = False) -> bytes:
        """The bytes of version 1.0 or 1.5."""
        body = struct.pack(
            "<16s48s48sQQQ48s48s48s48s48s48s48s48s64s",
            self.tee_tcb_svn,
            self.mr_seam,
            self.mr_signer_seam,
            self.seam_attributes,
            self.td_attributes,
            self.xfam,
            self.mr_td,
            self.mr_config_id,
            self.mr_owner,
            self.mr_owner_config,
            *self.rtmrs,
            self.report_data,
        )
        return body + struct.pack("<16s48s", self.tee_tcb_svn_2, self.mr_service_td) if is_15 else body
