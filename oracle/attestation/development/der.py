"""As much of a DER writer as vendor extensions take: `cryptography` writes no ENUMERATED and no free-form sequence."""

from __future__ import annotations

_BOOLEAN, _INTEGER, _OCTET_STRING, _OBJECT_IDENTIFIER, _ENUMERATED, _SEQUENCE, _IA5_STRING = 1, 2, 4, 6, 10, 0x30, 22


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*elements: bytes) -> bytes:
    """A SEQUENCE of encoded elements."""
    return _element(_SEQUENCE, b"".join(elements))


def octet_string(content: bytes) -> bytes:
    """An OCTET STRING."""
    return _element(_OCTET_STRING, content)


def integer(value: int) -> bytes:
    """A non-negative INTEGER."""
    return _element(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def boolean(*, value: bool) -> bytes:
    """A BOOLEAN."""
    return _element(_BOOLEAN, b"\xff" if value else b"\0")


def enumerated(value: int) -> bytes:
    """An ENUMERATED below 128."""
    return _element(_ENUMERATED, bytes([value]))


def ia5_string(text: str) -> bytes:
    """An IA5String."""
    return _element(_IA5_STRING, text.encode("ascii"))


def object_identifier(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its dotted text."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = bytes([first * 40 + second])
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | number & 0x7F)
        content += bytes(reversed(groups))
    return _element(_OBJECT_IDENTIFIER, content)
