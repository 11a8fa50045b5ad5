"""Sealing keys: HKDF-SHA256 of a platform's secret, one key per platform interface and purpose."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from oracle.crypto.domains import SEALING_DOMAIN
from oracle.errors import SealingError

SEALING_KEY_BYTES: Final = 32


def derive_sealing_key(secret: bytes, name: str, purpose: str, *, size: int) -> bytes:
    """
    32 bytes for `purpose` from a platform's `secret` of exactly `size` bytes.

    Raises:
        SealingError: the secret has another size or is all zeros, or the purpose is empty.
    """
    if len(secret) != size:
        raise SealingError(f"the sealing secret of {name} has {size} bytes, not {len(secret)}")
    if not any(secret):
        raise SealingError(f"the sealing secret of {name} is all zeros: the platform has not set it")
    if not purpose:
        raise SealingError("a sealing key has a purpose")
    info = name.encode() + b"\0" + purpose.encode()
    return HKDF(hashes.SHA256(), SEALING_KEY_BYTES, salt=SEALING_DOMAIN, info=info).derive(secret)
