"""Keccak-256, the only hash that names things in Adyton. Contracts can compute it for 36 gas."""

from __future__ import annotations

import sha3

HASH_BYTES = 32


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (the original padding, not FIPS 202): 32 bytes."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest
