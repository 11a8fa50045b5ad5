"""
As much of a strict DER reader as vendor extensions take: definite, minimal lengths below 64 KiB, nothing left over.

`cryptography` parses certificates but hands out unknown extensions as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from oracle.errors import EncodingError

INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
IA5_STRING: Final = 0x16
SEQUENCE: Final = 0x30
_MAX_IDENTIFIER_BYTES: Final = 64


def elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """
    Tag and content of each element, one after the other.

    Raises:
        EncodingError: cut off, or a length that is indefinite, not minimal or too large.
    """
    at = 0
    while at < len(content):
        tag, size, at = _head(content, at)
        if at + size > len(content):
            raise EncodingError(f"a DER element of {size} bytes is cut off")
        yield tag, content[at : at + size]
        at += size


def only(content: bytes, tag: int) -> bytes:
    """
    The content of the one element there is, which has this tag.

    Raises:
        EncodingError: another tag, nothing, or something after it.
    """
    found = list(elements(content))
    if len(found) != 1 or found[0][0] != tag:
        raise EncodingError(f"expected one DER element with tag {tag:#04x}")
    return found[0][1]


def sequence_items(content: bytes) -> list[tuple[int, bytes]]:
    """The elements of the one SEQUENCE that is in `content`. Raises as `only`."""
    return list(elements(only(content, SEQUENCE)))


def unsigned(content: bytes, size: int, what: str) -> int:
    """
    The INTEGER or ENUMERATED with this content, of at most `size` bytes.

    Raises:
        EncodingError: negative, not minimal, or larger.
    """
    is_minimal = bool(content) and not (len(content) > 1 and content[0] == 0 and content[1] < 0x80)
    if not is_minimal or content[0] >= 0x80 or len(content.lstrip(b"\0")) > size:
        raise EncodingError(f"{what} is not an unsigned number of {size} bytes")
    return int.from_bytes(content)


def dotted(content: bytes) -> str:
    """The dotted text of an OBJECT IDENTIFIER. Raises `EncodingError`."""
    if not 0 < len(content) <= _MAX_IDENTIFIER_BYTES or content[-1] >= 0x80:
        raise EncodingError("a DER object identifier is cut off or too long")
    numbers: list[int] = []
    number = 0
    for byte in content:
        if number == 0 and byte == 0x80:
            raise EncodingError("a DER object identifier has a number that is not minimal")
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _head(content: bytes, at: int) -> tuple[int, int, int]:
    if at + 2 > len(content):
        raise EncodingError("a DER element is cut off")
    tag, size = content[at], content[at + 1]
    at += 2
    if size < 0x80:
        return tag, size, at
    width = size & 0x7F
    if width not in (1, 2) or at + width > len(content):
        raise EncodingError("a DER length is indefinite, too large or cut off")
    size = int.from_bytes(content[at : at + width])
    if size < (0x80 if width == 1 else 0x100):
        raise EncodingError("a DER length is not minimal")
    return tag, size, at + width
