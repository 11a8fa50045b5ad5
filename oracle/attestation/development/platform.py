"""
One Intel machine, as its factory and its firmware describe it, and the X.509 extension that says so in its PCK.

Source of the extension: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, section 1.3.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from oracle.attestation.development.der import boolean, enumerated, integer, object_identifier, octet_string, sequence

SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
COMPONENTS: Final = 16


class PckAuthority(Enum):
    """Which of Intel's two authorities signs a machine's PCK: by its number of sockets, in effect."""

    PLATFORM = "platform"
    PROCESSOR = "processor"


@dataclass(frozen=True, slots=True)
class Platform:
    """What Intel knows about one machine. The defaults look like a fourth-generation Xeon with TDX."""

    ppid: bytes = bytes.fromhex("adadadadadadadadadadadadadad0001")
    fmspc: bytes = bytes.fromhex("90c0de000000")
    pce_id: bytes = bytes(2)
    cpu_svn: tuple[int, ...] = (3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0)
    pce_svn: int = 13
    tee_tcb_svn: tuple[int, ...] = (5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)  # TDX: module SVN, version, loader
    authority: PckAuthority = PckAuthority.PLATFORM
    platform_instance_id: bytes = bytes.fromhex("adadadadadadadadadadadadadad1001")  # multi-package machines only
    is_dynamic: bool = True
    has_cached_keys: bool = True
    has_smt: bool = True

    def sgx_extension(self) -> bytes:
        """The content of the PCK's SGX extension, DER."""
        items = [
            _item("1", octet_string(self.ppid)),
            _item("2", self._tcb()),
            _item("3", octet_string(self.pce_id)),
            _item("4", octet_string(self.fmspc)),
            _item("5", enumerated(1 if self.authority is PckAuthority.PLATFORM else 0)),
        ]
        if self.authority is PckAuthority.PLATFORM:
            flags = (self.is_dynamic, self.has_cached_keys, self.has_smt)
            configuration = [_item(f"7.{number}", boolean(value=flag)) for number, flag in enumerate(flags, 1)]
            items += [_item("6", octet_string(self.platform_instance_id)), _item("7", sequence(*configuration))]
        return sequence(*items)

    def _tcb(self) -> bytes:
        components = [_item(f"2.{number}", integer(svn)) for number, svn in enumerate(self.cpu_svn, 1)]
        whole = octet_string(bytes(self.cpu_svn))
        return sequence(*components, _item("2.17", integer(self.pce_svn)), _item("2.18", whole))


def _item(number: str, value: bytes) -> bytes:
    return sequence(object_identifier(f"{SGX_EXTENSION}.{number}"), value)
