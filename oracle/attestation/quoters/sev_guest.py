"""
Keys that AMD's secure processor derives for a guest: ioctl SNP_GET_DERIVED_KEY on /dev/sev-guest.

Mixed into the key are the guest's measurement and policy, so other builds and debug guests get others; the root is the
chip's own key, so other machines do too.

Source: Linux, Documentation/virt/coco/sev-guest.rst; AMD 56860, "MSG_KEY_REQ".
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from oracle.attestation.quoters.sealing import derive_sealing_key
from oracle.errors import SealingError

SEV_GUEST: Final = Path("/dev/sev-guest")
SNP_GET_DERIVED_KEY: Final = 0xC020_5301  # _IOWR('S', 1, struct snp_guest_request_ioctl)
_MESSAGE_VERSION: Final = 1
_ROOT_VCEK: Final = 0
_MIX_POLICY, _MIX_MEASUREMENT = 1 << 0, 1 << 3
_KEY_BYTES: Final = 32
_RESPONSE_BYTES: Final = 64
_REQUEST = struct.Struct("<IIQIIQ")  # root key, reserved, fields, VMPL, guest SVN, TCB version
_ENVELOPE = struct.Struct("<B7xQQQ")  # message version, request's address, response's address, error out
_STATUS = struct.Struct("<I28x")


class SevGuest:
    """The device, opened before lock-down."""

    def __init__(self, path: Path = SEV_GUEST) -> None:
        self._path = path
        try:
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            self._descriptor = None

    def sealing_key(self, name: str, purpose: str) -> bytes:
        """
        A key of this measurement on this chip.

        Raises:
            SealingError: there is no such device, or it refuses.
        """
        if self._descriptor is None:
            raise SealingError(f"{self._path} cannot be opened: the guest's kernel or container does not offer it")
        fields = _MIX_POLICY | _MIX_MEASUREMENT
        request = ctypes.create_string_buffer(_REQUEST.pack(_ROOT_VCEK, 0, fields, 0, 0, 0), _REQUEST.size)
        response = ctypes.create_string_buffer(_RESPONSE_BYTES)
        addresses = ctypes.addressof(request), ctypes.addressof(response)
        envelope = bytearray(_ENVELOPE.pack(_MESSAGE_VERSION, *addresses, 0))
        try:
            fcntl.ioctl(self._descriptor, SNP_GET_DERIVED_KEY, envelope)
        except OSError as error:
            firmware = _ENVELOPE.unpack(envelope)[3]
            raise SealingError(f"{self._path} derives no key: {error.strerror}, firmware {firmware:#x}") from error
        (status,) = _STATUS.unpack_from(response.raw)
        if status:
            raise SealingError(f"the secure processor derives no key: status {status:#x}")
        return derive_sealing_key(response.raw[_STATUS.size :][:_KEY_BYTES], name, purpose, size=_KEY_BYTES)
