"""
Quotes: signed evidence that a key lives in a measured enclave.

`DevelopmentQuoter` stands where hardware will stand. It differs from hardware by its trusted root only, and that root
is public: anyone can make its quotes, which is why `DevelopmentVerifier.sol` refuses to exist off chain id 31337.
"""

from __future__ import annotations

from typing import Protocol

from oracle.crypto.domains import DEVELOPMENT_QUOTE_DOMAIN
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.eip712 import word
from oracle.crypto.hashing import keccak256
from oracle.types.ids import MeasurementId

DEVELOPMENT_ROOT = SigningKey(keccak256(b"adyton development root"))
_SIGNATURE_OFFSET = 5 * 32  # ABI: four static words and this offset come first
_DEVELOPMENT_PLATFORM = keccak256(b"adyton development platform")


class Quoter(Protocol):
    """What an enclave needs of the platform under it."""

    def quote(self, measurement: MeasurementId, report_data: bytes, valid_until_s: int) -> bytes:
        """Evidence over 32 bytes of report data. Hardware fills in measurement and validity itself."""
        ...


class DevelopmentQuoter:
    """Signs what hardware would have measured."""

    def __init__(self, root: SigningKey = DEVELOPMENT_ROOT) -> None:
        self._root = root

    def quote(self, measurement: MeasurementId, report_data: bytes, valid_until_s: int) -> bytes:
        """`abi.encode(measurement, reportData, platform, validUntil, signature)`, for `DevelopmentVerifier.sol`."""
        statement = measurement + report_data + _DEVELOPMENT_PLATFORM + word(valid_until_s)
        signature = self._root.sign_rsv(keccak256(DEVELOPMENT_QUOTE_DOMAIN + statement))
        head = statement + word(_SIGNATURE_OFFSET)
        return head + word(len(signature)) + signature.ljust(-(-len(signature) // 32) * 32, b"\0")
