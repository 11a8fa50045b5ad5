"""Elliptic-curve keys from a seed, and signatures as quotes carry them. RFC 6979, so the same input signs the same."""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DEVELOPMENT_SEED: Final = b"adyton development"  # of `adyton dev`; public, as every seed of this package
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P384_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973


def bytes_of(seed: bytes, label: str, size: int) -> bytes:
    """`size` bytes that depend on seed and label alone."""
    return hashlib.shake_256(b"Adyton development v1\0" + hashlib.sha256(seed).digest() + label.encode()).digest(size)


def p256_key(seed: bytes, label: str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of that label."""
    scalar = int.from_bytes(bytes_of(seed, "P-256 " + label, 48)) % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def p384_key(seed: bytes, label: str) -> ec.EllipticCurvePrivateKey:
    """The P-384 key of that label."""
    scalar = int.from_bytes(bytes_of(seed, "P-384 " + label, 64)) % (_P384_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP384R1())


def sign_p256(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """`r || s` over SHA-256, 64 bytes. As from hardware, s may be in the upper half of the order."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    return r.to_bytes(32) + s.to_bytes(32)


def sign_p384(key: ec.EllipticCurvePrivateKey, message: bytes) -> tuple[int, int]:
    """`(r, s)` over SHA-384."""
    return decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA384(), deterministic_signing=True)))


def point_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as `x || y`, without the leading 04."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
