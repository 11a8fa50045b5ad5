"""
Solidity values as people write them: JSON or TOML in, ABI bytes out, and back.

Integers may be numbers or text (`"0x…"` or decimal, for readers whose numbers are short), `address`, `bytes` and
`bytesN` are `0x…` text, arrays and tuples are lists. What comes back is the same, with integers as numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import ABITypeError, DecodingError, EncodingError, ParseError
from eth_abi.grammar import ABIType, BasicType, TupleType, normalize, parse

from oracle.errors import ProjectError

_MAX_TYPE_CHARACTERS = 400
_MAX_DEPTH = 16
_HEXADECIMAL = re.compile(r"0x([0-9a-fA-F]{2})*")
_NUMBER = re.compile(r"-?(0x[0-9a-fA-F]{1,64}|[0-9]{1,78})")


def check_types(types: Sequence[str]) -> tuple[str, ...]:
    """
    `types`, normalised (`uint` is `uint256`).

    Raises:
        ProjectError: one of them is no ABI type.
    """
    return tuple(_parsed(kind).to_type_str() for kind in types)


def encode_values(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """
    As Solidity's `abi.encode`.

    Raises:
        ProjectError: a type or value is not what it must be.
    """
    if len(types) != len(values):
        raise ProjectError(f"{len(values)} values were given for {len(types)} types ({', '.join(types)[:200]})")
    parsed = [_parsed(kind) for kind in types]
    ready = [_value(kind, value) for kind, value in zip(parsed, values, strict=True)]
    try:
        return encode([kind.to_type_str() for kind in parsed], ready)
    except (EncodingError, OverflowError, ValueError, TypeError) as error:
        raise ProjectError(f"these values are not ({', '.join(types)[:200]}): {str(error)[:200]}") from error


def decode_values(types: Sequence[str], data: bytes) -> list[Any]:
    """
    The values in `data`, as JSON can hold them.

    Raises:
        ProjectError: it is not their encoding.
    """
    try:
        return [_shown(value) for value in decode([_parsed(kind).to_type_str() for kind in types], data)]
    except (DecodingError, OverflowError, ValueError) as error:
        raise ProjectError(f"the output is not abi.encode({', '.join(types)[:200]}): {str(error)[:200]}") from error


def _parsed(kind: str) -> ABIType:
    try:
        if len(kind) > _MAX_TYPE_CHARACTERS or kind.count("(") + kind.count("[") > _MAX_DEPTH:
            raise ProjectError(f"the type {kind[:80]!r} is too large")
        parsed: ABIType = parse(normalize(kind))
        _validate(parsed)
    except (ParseError, ABITypeError, ValueError, RecursionError) as error:
        raise ProjectError(
            f"{kind[:80]!r} is no ABI type: write uint256, bytes32[], (address,string) and so on"
        ) from error
    return parsed


def _validate(kind: ABIType) -> None:
    kind.validate()
    while kind.is_array:
        kind = kind.item_type
    if isinstance(kind, TupleType):
        for component in kind.components:
            _validate(component)
    elif isinstance(kind, BasicType) and kind.base not in ("uint", "int", "address", "bool", "bytes", "string"):
        raise ValueError(kind.base)


def _value(kind: ABIType, value: Any) -> Any:
    if kind.is_array:
        return [_value(kind.item_type, item) for item in _list(kind, value)]
    if isinstance(kind, TupleType):
        items = _list(kind, value)
        if len(items) != len(kind.components):
            raise ProjectError(f"{kind.to_type_str()[:80]} takes {len(kind.components)} values, not {len(items)}")
        return tuple(_value(part, item) for part, item in zip(kind.components, items, strict=True))
    assert isinstance(kind, BasicType)
    if kind.base in ("uint", "int"):
        return _integer(kind, value)
    if kind.base in ("bytes", "address"):
        if not isinstance(value, str) or not _HEXADECIMAL.fullmatch(value):
            raise ProjectError(f"{kind.to_type_str()} is 0x… text, not {value!r:.80}")
        wanted, data = 20 if kind.base == "address" else kind.sub, bytes.fromhex(value[2:])
        if wanted is not None and len(data) != wanted:
            raise ProjectError(f"{kind.to_type_str()} has {wanted} bytes, not {len(data)}")
        return value if kind.base == "address" else data
    wanted_type = bool if kind.base == "bool" else str
    if not isinstance(value, wanted_type):
        raise ProjectError(f"{kind.to_type_str()} is not {value!r:.80}")
    return value


def _integer(kind: ABIType, value: Any) -> int:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value, 16 if "x" in value else 10)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProjectError(f"{kind.to_type_str()} is an integer, not {value!r:.80}")
    return value


def _list(kind: ABIType, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ProjectError(f"{kind.to_type_str()[:80]} is a list of values, not {value!r:.80}")
    return value


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return [_shown(item) for item in value] if isinstance(value, (list, tuple)) else value
