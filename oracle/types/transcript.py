"""
What a run fetched: the transcript that a receipt commits to in its field `context`.

    context = hashStruct(Context), EIP-712, with
    Context(Fetch[] fetches)
    Fetch(string url,string method,bytes32 requestHash,
          uint16 status,bytes32 bodyHash,bytes32 certificateHash,uint64 time)       without the line break

One `Fetch` for each HTTP request that was tried, in order, each redirect being another. Nothing tried: `context` is
zero. Who has the transcript checks it against a receipt with `context_of`; that a body is the one that was fetched,
with its keccak256. What else a run may depend on one day becomes another `Context` type, never another meaning of this.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from oracle.crypto.eip712 import word
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError
from oracle.types.receipt import NO_CONTEXT

_FETCH_TYPE = (
    b"Fetch(string url,string method,bytes32 requestHash,uint16 status,"
    b"bytes32 bodyHash,bytes32 certificateHash,uint64 time)"
)
_FETCH_TYPEHASH = keccak256(_FETCH_TYPE)
_CONTEXT_TYPEHASH = keccak256(b"Context(Fetch[] fetches)" + _FETCH_TYPE)
NO_HASH: Final = bytes(32)
MAX_FETCHES: Final = 64


@dataclass(frozen=True, slots=True)
class Fetched:
    """One HTTP request, and what came back. If none did, status, body and certificate are zero."""

    url: str
    method: str
    request_hash: bytes  # keccak256 of the body that was sent
    status: int
    body_hash: bytes  # keccak256
    certificate_hash: bytes  # SHA-256 of the server's own certificate (DER), as browsers show it
    time_s: int  # unix; by the host's clock, but never outside the request's createdAt and deadline

    def __post_init__(self) -> None:
        """Refuse what does not fit its field."""
        if [*map(len, (self.request_hash, self.body_hash, self.certificate_hash))] != [32, 32, 32]:
            raise EncodingError("a fetch names three hashes of 32 bytes")
        if not 0 <= self.status < 1 << 16 or not 0 <= self.time_s < 1 << 64:
            raise EncodingError("a fetch has a status of 16 bits and a time of 64")

    @property
    def struct_hash(self) -> bytes:
        """EIP-712 `hashStruct`, 32 bytes."""
        values = (
            keccak256(self.url.encode()),
            keccak256(self.method.encode()),
            self.request_hash,
            self.status,
            self.body_hash,
            self.certificate_hash,
            self.time_s,
        )
        return keccak256(_FETCH_TYPEHASH + b"".join(word(value) for value in values))

    def document(self) -> dict[str, str | int]:
        """As a JSON object, hashes as 0x… text."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: "0x" + value.hex() if isinstance(value, bytes) else value for name, value in values.items()}

    @classmethod
    def parse(cls, document: Any) -> Self:
        """
        Read what `document` gave.

        Raises:
            EncodingError: it is something else.
        """
        kinds = {"url": str, "method": str, "status": int, "time_s": int}
        try:
            if document.keys() != {field.name for field in fields(cls)}:
                raise EncodingError("a fetch has other fields than these")
            if any(type(document[name]) is not kind for name, kind in kinds.items()):
                raise EncodingError("a fetch has a field of another type")
            hashes = {name: bytes.fromhex(document[name].removeprefix("0x")) for name in document.keys() - kinds.keys()}
            document["url"].encode(), document["method"].encode()
        except (AttributeError, TypeError, ValueError) as error:
            raise EncodingError(f"this is not a fetch of a transcript: {error}") from error
        return cls(**{**document, **hashes})


def context_of(transcript: Sequence[Fetched]) -> bytes:
    """The receipt's `context`, 32 bytes; zero if nothing was fetched."""
    if not transcript:
        return NO_CONTEXT
    return keccak256(_CONTEXT_TYPEHASH + keccak256(b"".join(fetched.struct_hash for fetched in transcript)))


def encode_transcript(transcript: Sequence[Fetched]) -> bytes:
    """As JSON, to be kept."""
    return json.dumps([fetched.document() for fetched in transcript], separators=(",", ":")).encode()


def parse_transcript(data: bytes) -> tuple[Fetched, ...]:
    """
    Read what `encode_transcript` gave; no bytes are an empty one.

    Raises:
        EncodingError: it is something else.
    """
    try:
        documents = json.loads(data or b"[]")
    except ValueError as error:
        raise EncodingError("this transcript is not JSON") from error
    if not isinstance(documents, list):
        raise EncodingError("a transcript is a list")
    return tuple(Fetched.parse(document) for document in documents)
