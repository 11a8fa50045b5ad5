"""
A program: code plus its manifest, named by hash.

`programId = keccak256(abi.encode(PROGRAM_DOMAIN, engine, keccak256(manifest), keccak256(code)))`. The manifest is JSON
and is hashed byte for byte as published; parsing is strict, so one manifest means one thing to every enclave.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any, Self

from oracle.crypto.domains import PROGRAM_DOMAIN
from oracle.crypto.eip712 import word
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError, LimitExceededError
from oracle.types.ids import ProgramId
from oracle.types.web import FetchTerms

MANIFEST_VERSION = 1
MAX_MANIFEST_BYTES = 4_096
_MAX_LIMIT = 2**53 - 1  # every JSON reader agrees on integers up to here


class Engine(IntEnum):
    """What runs the code. Both end in WebAssembly."""

    WASM = 1
    JS = 2


class Capability:
    """What a program may ask its enclave for beyond its input."""

    BLOB = "blob"
    FETCH = "fetch"
    ALL = frozenset({BLOB, FETCH})
    USUAL = frozenset({BLOB})  # what a manifest that we fill in names: it takes no terms


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of a program may use. The defaults are what `adyton program publish` fills in."""

    fuel: int = 10_000_000_000
    memory_bytes: int = 64 << 20
    wall_time_ms: int = 10_000
    input_bytes: int = 64 << 10
    output_bytes: int = 16 << 10
    log_bytes: int = 16 << 10
    stack_bytes: int = 256 << 10

    def exceeding(self, ceilings: Limits) -> str | None:
        """The name of the first limit that is over the pool's ceiling, or None."""
        return next(
            (f.name for f in fields(self) if getattr(self, f.name) > getattr(ceilings, f.name)),
            None,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a program says about itself."""

    engine: Engine
    limits: Limits
    capabilities: frozenset[str] = frozenset()
    fetch: FetchTerms | None = None  # there if, and only if, the capability is named

    def encode(self) -> bytes:
        """The canonical JSON bytes: sorted keys, no white space."""
        document: dict[str, Any] = {
            "version": MANIFEST_VERSION,
            "engine": self.engine.name.lower(),
            "limits": asdict(self.limits),
            "capabilities": sorted(self.capabilities),
        }
        if self.fetch is not None:
            document["fetch"] = self.fetch.encode()
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """
        Read manifest bytes of any origin.

        Raises:
            LimitExceededError: more than `MAX_MANIFEST_BYTES`.
            EncodingError: not UTF-8 JSON, a key unknown, missing or doubled, a value of the wrong type or out of range.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise LimitExceededError("manifest size in bytes", MAX_MANIFEST_BYTES, len(data))
        document = _parse_object(data)
        terms = {"fetch"} if _names_fetch(document) else set()
        _require_keys(document, {"version", "engine", "limits", "capabilities"} | terms, "manifest")
        if document["version"] != MANIFEST_VERSION or isinstance(document["version"], bool):
            raise EncodingError(f"this manifest's version is {document['version']!r:.40}, not {MANIFEST_VERSION}")
        return cls(
            _engine(document["engine"]),
            _limits(document["limits"]),
            _capabilities(document["capabilities"]),
            FetchTerms.parse(document["fetch"]) if terms else None,
        )


@dataclass(frozen=True, slots=True)
class Program:
    """The hashes that a program id commits to."""

    engine: Engine
    manifest_hash: bytes
    code_hash: bytes

    @classmethod
    def of(cls, manifest: bytes, code: bytes) -> Self:
        """The program made of these bytes; its engine is the manifest's. Raises as `Manifest.parse` does."""
        return cls(Manifest.parse(manifest).engine, keccak256(manifest), keccak256(code))

    @property
    def program_id(self) -> ProgramId:
        """The 32-byte id."""
        return ProgramId(keccak256(PROGRAM_DOMAIN + word(int(self.engine)) + self.manifest_hash + self.code_hash))


def _parse_object(data: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise EncodingError("this manifest has a key twice")
        return dict(pairs)

    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise EncodingError("this manifest is not JSON") from error
    if not isinstance(document, dict):
        raise EncodingError("a manifest is a JSON object")
    return document


def _require_keys(document: Mapping[str, Any], keys: set[str], what: str) -> None:
    if document.keys() != keys:
        wrong = ", ".join(sorted(document.keys() ^ keys))[:200]
        raise EncodingError(f"{what}: unknown or missing keys: {wrong}")


def _engine(value: object) -> Engine:
    try:
        return {"wasm": Engine.WASM, "js": Engine.JS}[value]  # type: ignore[index]  # any other type is a KeyError or TypeError
    except (KeyError, TypeError) as error:
        raise EncodingError(f"engine must be 'js' or 'wasm', not {value!r:.40}") from error


def _limits(value: object) -> Limits:
    if not isinstance(value, dict):
        raise EncodingError("limits must be an object")
    _require_keys(value, {field.name for field in fields(Limits)}, "limits")
    for name, limit in value.items():
        if type(limit) is not int or not 1 <= limit <= _MAX_LIMIT:
            raise EncodingError(f"limits.{name} must be an integer from 1 to 2^53-1, not {limit!r:.40}")
    return Limits(**value)


def _names_fetch(document: Mapping[str, Any]) -> bool:
    named = document.get("capabilities")
    return isinstance(named, list) and Capability.FETCH in named


def _capabilities(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name in Capability.ALL for name in value):
        raise EncodingError(f"capabilities must be a list out of {sorted(Capability.ALL)}")
    if len(set(value)) != len(value):
        raise EncodingError("a capability is listed twice")
    return frozenset(value)
