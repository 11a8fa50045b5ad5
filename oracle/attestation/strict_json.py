"""
JSON from strangers: no member twice, no NaN, bounded, and typed access. Whatever the text, only `InvalidInputError`.

Intel signs the text of a member as published, so that text can be cut out as it stands, without writing it anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from oracle.errors import EncodingError, LimitExceededError

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,77}")  # what a word of 256 bits can hold, and somewhat more
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
MAX_DEPTH: Final = 32


class Members:
    """A JSON object, read by name and type. Members that nobody asks for are ignored: vendors add some."""

    def __init__(self, members: Any, what: str) -> None:
        if not isinstance(members, dict):
            raise EncodingError(f"{what} is not a JSON object")
        self._members: dict[str, Any] = members
        self._what = what

    def __contains__(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._members

    def text(self, name: str) -> str:
        """A string. Raises `EncodingError`, as all of these, if it is missing or of another type."""
        value = self._members.get(name)
        return value if isinstance(value, str) else self._refuse(name, "a string")

    def integer(self, name: str, limit: int) -> int:
        """A number from 0 to `limit`."""
        value = self._members.get(name)
        if type(value) is not int or not 0 <= value <= limit:
            self._refuse(name, f"a number from 0 to {limit}")
        return int(value)

    def number(self, name: str, limit: int) -> int:
        """The same, or as decimal text: what readers take for a floating-point number is written so."""
        value = self._members.get(name)
        if isinstance(value, str) and _DECIMAL.fullmatch(value) and int(value) <= limit:
            return int(value)
        return self.integer(name, limit)

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self._members.get(name)
        return value if isinstance(value, bool) else self._refuse(name, "true or false")

    def octets(self, name: str, size: int | None = None) -> bytes:
        """Bytes in hexadecimal, `size` of them."""
        content = hex_bytes(self.text(name))
        if content is None or (size is not None and len(content) != size):
            self._refuse(name, "hexadecimal" if size is None else f"{size} bytes in hexadecimal")
        return content

    def date_s(self, name: str) -> int:
        """A date such as 2025-06-19T10:56:11Z, as unix seconds."""
        text = self.text(name)
        expected = "a date such as 2025-06-19T10:56:11Z"
        try:
            date = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            self._refuse(name, expected)
        return int(date.timestamp()) if _DATE.fullmatch(text) else self._refuse(name, expected)

    def child(self, name: str) -> Members:
        """An object."""
        return Members(self._members.get(name), f"{self._what}.{name}")

    def children(self, name: str, limit: int) -> Iterator[Members]:
        """A list of at most `limit` objects."""
        for number, value in enumerate(self.values(name, limit)):
            yield Members(value, f"{self._what}.{name}[{number}]")

    def values(self, name: str, limit: int) -> list[Any]:
        """A list of at most `limit` values of any type."""
        value = self._members.get(name)
        if not isinstance(value, list):
            self._refuse(name, "a list")
        if len(value) > limit:
            raise LimitExceededError(f"the length of {self._what}.{name}", limit, len(value))
        return value

    def _refuse(self, name: str, expected: str) -> NoReturn:
        raise EncodingError(f"{self._what}.{name} is missing or not {expected}")


def parse(text: str, what: str) -> Members:
    """
    The object that is `text`.

    Raises:
        EncodingError: not JSON, not an object, a member twice, or nested too deep.
    """
    require_shallow(text, what)
    try:
        return Members(_DECODER.decode(text), what)
    except ValueError as error:
        raise EncodingError(f"{what} is not JSON: {error}"[:300]) from error


def require_shallow(text: str, what: str) -> None:
    """
    Count brackets before decoding: how deep the decoder may recurse without a crash is up to the whole process.

    Raises:
        EncodingError: nested too deep.
    """
    depth = 0
    for found in _STRUCTURE.finditer(text):
        mark = found[0]
        depth += (mark in "[{") - (mark in "]}")
        if depth > MAX_DEPTH:
            raise EncodingError(f"{what} is not JSON that is understood: nested deeper than {MAX_DEPTH}")


def member_texts(text: str, what: str) -> dict[str, str]:
    """
    The members of the outer object, each as the text that stands there.

    Raises:
        EncodingError: as `parse`.
    """
    parse(text, what)  # from here on it is known to be one well-formed object
    texts: dict[str, str] = {}
    at = _skip(text, _skip(text, 0) + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        first = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, first)
        texts[name] = text[first:end]
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return texts


def hex_bytes(text: str) -> bytes | None:
    """The bytes behind hexadecimal text, None if it is something else."""
    return bytes.fromhex(text) if _HEX.fullmatch(text) else None


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a member twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members_once, parse_constant=_refuse_constant)
