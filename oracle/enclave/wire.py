"""
How values look inside a frame: CBOR maps with exactly the fields of a dataclass, each of its type and size.

Whatever the bytes, reading raises `InvalidInputError` and nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, get_type_hints

import cbor2

from oracle.errors import EncodingError, InvalidInputError
from oracle.types.program import Engine
from oracle.types.receipt import Outcome

_FOREIGN_TAGS = (0, 1, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000)  # all but bignum, 2


# -- fields: how each looks on the wire --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wire:
    """`unpack` checks and reads a plain CBOR value, `pack` makes one; `name` is the key if not the attribute's."""

    unpack: Callable[[Any], Any]
    pack: Callable[[Any], Any] = lambda value: value
    name: str | None = None


def sized(exact: int | None = None) -> Callable[[Any], bytes]:
    """Bytes, any number or exactly so many."""

    def unpack(value: Any) -> bytes:
        if type(value) is not bytes or (exact is not None and len(value) != exact):
            raise EncodingError("must be bytes" if exact is None else f"must be {exact} bytes")
        return value

    return unpack


def at_most(size: int) -> Callable[[Any], bytes]:
    """Bytes, up to so many."""

    def unpack(value: Any) -> bytes:
        if type(value) is not bytes or len(value) > size:
            raise EncodingError(f"must be at most {size} bytes")
        return value

    return unpack


def truth(value: Any) -> bool:
    """Yes or no."""
    if type(value) is not bool:
        raise EncodingError("must be true or false")
    return value


def integer(bits: int) -> Callable[[Any], int]:
    """Unsigned, of so many bits."""

    def unpack(value: Any) -> int:
        if type(value) is not int or not 0 <= value < 1 << bits:
            raise EncodingError(f"must be an unsigned integer of {bits} bits")
        return value

    return unpack


def text(value: Any) -> str:
    """Any text."""
    if type(value) is not str:
        raise EncodingError("must be text")
    return value


def enumeration(kind: type[Engine | Outcome]) -> Wire:
    """A member of `kind`, by number."""

    def unpack(value: Any) -> Engine | Outcome:
        try:
            return kind(integer(8)(value))
        except ValueError as error:
            raise EncodingError(f"must name an {kind.__name__.lower()}, not {value}") from error

    return Wire(unpack, int)


def record(kind: type[Any]) -> Wire:
    """A dataclass of fields like these."""
    return Wire(lambda value: unpack_record(kind, value), lambda value: pack_record(value))  # noqa: PLW0108  # defined below


def listed(item: Wire, most: int) -> Wire:
    """A tuple of up to so many."""

    def unpack(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > most:
            raise EncodingError(f"must be a list of at most {most}")
        return tuple(item.unpack(element) for element in value)

    return Wire(unpack, lambda values: [item.pack(value) for value in values])


# The value types of `oracle.types` check ranges and sizes in their constructors.
_PLAIN = {int: Wire(integer(256)), bytes: Wire(sized()), str: Wire(text)}


# -- records -----------------------------------------------------------------------------------------------------------


def decode(body: bytes) -> dict[str, Any]:
    """
    The one CBOR map that `body` holds.

    Raises:
        EncodingError: it holds anything else, or CBOR that this protocol does not have.
    """
    stream = io.BytesIO(body)
    try:
        document = cbor2.load(
            stream,
            semantic_decoders=_REFUSED_TAGS,
            max_depth=8,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORError, ValueError, OverflowError, MemoryError) as error:
        raise EncodingError("the frame does not hold CBOR that this protocol allows") from error
    if stream.tell() != len(body):
        raise EncodingError("the frame holds more than one CBOR item")
    if type(document) is not dict:
        raise EncodingError("the frame does not hold a CBOR map")
    return document


def _refuse_tag(_decoder: object) -> NoReturn:
    raise cbor2.CBORDecodeError("this protocol has no tagged values but big integers")


_REFUSED_TAGS = dict.fromkeys(_FOREIGN_TAGS, _refuse_tag)


_layouts: dict[type[Any], dict[str, tuple[str, Wire]]] = {}  # of each kind, when first met


def _layout(kind: type[Any]) -> Mapping[str, tuple[str, Wire]]:
    """Wire name -> (attribute, how it looks on the wire)."""
    known = _layouts.get(kind)
    if known is not None:
        return known
    layout = {}
    for attribute, hint in get_type_hints(kind, include_extras=True).items():
        extras = getattr(hint, "__metadata__", ())
        wire = extras[0] if extras else _PLAIN[getattr(hint, "__supertype__", hint)]
        layout[wire.name or attribute] = (attribute, wire)
    _layouts[kind] = layout
    return layout


def unpack_record(kind: type[Any], value: Any) -> Any:
    """
    The `kind` that a map has the fields of.

    Raises:
        InvalidInputError: not exactly these fields, or one that is not as it should be.
    """
    layout = _layout(kind)
    if type(value) is not dict or value.keys() != layout.keys():
        given = sorted(map(str, value)) if type(value) is dict else []
        raise EncodingError(f"{kind.__name__} has the fields {sorted(layout)}, not {given!s:.200}")
    arguments = {}
    for name, (attribute, wire) in layout.items():
        try:
            arguments[attribute] = wire.unpack(value[name])
        except InvalidInputError as error:
            raise EncodingError(f"{kind.__name__}.{name} {error}") from error
    return kind(**arguments)


def pack_record(record: Any) -> dict[str, Any]:
    """The map with the fields of `record`."""
    return {name: wire.pack(getattr(record, attribute)) for name, (attribute, wire) in _layout(type(record)).items()}
