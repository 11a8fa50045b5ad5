"""
ECDSA over secp256k1 with EIP-2098 compact signatures.

Every signature made or accepted here is canonical: 64 bytes `r || (y_parity << 255 | s)` with s in the lower half
of the order, so a signature cannot be turned into another one for the same message.
"""

from __future__ import annotations

from coincurve import PrivateKey, PublicKey

from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError

COMPACT_SIGNATURE_BYTES = 64
ADDRESS_BYTES = 20
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_PARITY_BIT = 1 << 255


def _address(public_key: PublicKey) -> bytes:
    return keccak256(public_key.format(compressed=False)[1:])[-ADDRESS_BYTES:]


class SigningKey:
    """A secp256k1 private key. The scalar leaves it only through `secret`, which development keys alone use."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes | None = None) -> None:
        """
        Wrap the 32-byte big-endian scalar `secret`, or draw a new one from the operating system.

        Raises:
            EncodingError: `secret` is not 32 bytes or not in 1 .. n-1.
        """
        if secret is not None and len(secret) != 32:
            raise EncodingError(f"a private key has 32 bytes, not {len(secret)}")
        try:
            self._key = PrivateKey(secret)
        except ValueError as error:
            raise EncodingError("this number is not a secp256k1 private key") from error
        self.address = _address(self._key.public_key)

    @property
    def secret(self) -> bytes:
        """The 32-byte scalar."""
        return self._key.secret

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest (RFC 6979 nonce): 64 bytes, EIP-2098."""
        r, s, parity = self._sign(digest)
        return r + (int.from_bytes(s) | (_PARITY_BIT if parity else 0)).to_bytes(32)

    def sign_rsv(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest: 65 bytes `r || s || v` with v 27 or 28, as older contracts want it."""
        r, s, parity = self._sign(digest)
        return r + s + bytes([27 + parity])

    def _sign(self, digest: bytes) -> tuple[bytes, bytes, int]:
        signature = self._key.sign_recoverable(digest, hasher=None)  # libsecp256k1 always gives the lower s
        return signature[:32], signature[32:64], signature[64]


def recover(digest: bytes, signature: bytes) -> bytes:
    """
    The 20-byte address whose key made the 64-byte compact `signature` of the 32-byte `digest`.

    The caller must still check that this is an address it trusts: every well-formed signature recovers to some address.

    Raises:
        EncodingError: not 64 bytes, s in the upper half, or no such point.
    """
    if len(signature) != COMPACT_SIGNATURE_BYTES:
        raise EncodingError(f"a compact signature has {COMPACT_SIGNATURE_BYTES} bytes, not {len(signature)}")
    tail = int.from_bytes(signature[32:])
    s = tail & ~_PARITY_BIT
    if s > _HALF_ORDER:
        raise EncodingError("the signature is not canonical: s is in the upper half of the order")
    parity = 1 if tail & _PARITY_BIT else 0
    try:
        key = PublicKey.from_signature_and_message(
            signature[:32] + s.to_bytes(32) + bytes([parity]), digest, hasher=None
        )
    except Exception as error:  # coincurve raises bare Exception and ValueError alike
        raise EncodingError("no public key could have made this signature") from error
    return _address(key)
