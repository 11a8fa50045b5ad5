"""
The ids of the protocol. Each is a hash, an address or a packed number; each has its own type so that none is taken
for another.
"""

from __future__ import annotations

from typing import NewType

from oracle.errors import EncodingError

Address = NewType("Address", bytes)  # 20 bytes
RequestId = NewType("RequestId", bytes)  # 32 bytes, hash of all fields of a request
ProgramId = NewType("ProgramId", bytes)  # 32 bytes, hash of engine, manifest hash and code hash
PoolId = NewType("PoolId", bytes)  # 32 bytes, packed; see `oracle.types.pool`
MeasurementId = NewType("MeasurementId", bytes)  # 32 bytes, hash of the vendor's registers that name a build

ZERO_ADDRESS = Address(bytes(20))


def parse_hex(text: str, size: int, what: str) -> bytes:
    """
    The `size` bytes behind `0x…` text.

    Raises:
        EncodingError: not `0x` and exactly `2 * size` hexadecimal digits. `what` names the value in the message.
    """
    digits = text[2:] if text[:2] in ("0x", "0X") else ""
    if len(digits) != 2 * size:
        raise EncodingError(f"{what} must be 0x and {2 * size} hexadecimal digits, not {text[:80]!r}")
    try:
        return bytes.fromhex(digits if digits.isalnum() or not digits else "?")  # fromhex itself skips white space
    except ValueError as error:
        raise EncodingError(f"{what} is not hexadecimal: {text[:80]!r}") from error


def hex_of(value: bytes) -> str:
    """`0x…` text of any bytes."""
    return "0x" + value.hex()
