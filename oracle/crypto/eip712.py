"""
EIP-712 digests of the two messages that enclaves sign, and nothing more general.

All fields of our messages are static, so `encodeData` is a concatenation of 32-byte words.
Source: https://eips.ethereum.org/EIPS/eip-712
"""

from __future__ import annotations

from functools import lru_cache

from oracle.crypto.hashing import keccak256

_DOMAIN_TYPEHASH = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")


def word(value: int | bytes) -> bytes:
    """One ABI word: integers big-endian, bytes left-padded (so an address is right-aligned). 32 bytes."""
    return value.to_bytes(32) if isinstance(value, int) else value.rjust(32, b"\0")


@lru_cache(maxsize=64)
def domain_separator(name: str, version: str, chain_id: int, verifying_contract: bytes) -> bytes:
    """`hashStruct(EIP712Domain)`, 32 bytes."""
    return keccak256(
        _DOMAIN_TYPEHASH
        + keccak256(name.encode())
        + keccak256(version.encode())
        + word(chain_id)
        + word(verifying_contract)
    )


def typed_data_digest(separator: bytes, struct_hash: bytes) -> bytes:
    """The 32 bytes that are signed for `struct_hash` under the domain `separator`."""
    return keccak256(b"\x19\x01" + separator + struct_hash)
