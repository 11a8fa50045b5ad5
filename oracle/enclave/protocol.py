"""
The enclave's channel: frames, and the messages inside them. Used by both sides; its only I/O is to move frames.

    frame   = u32 big-endian length (at most `MAX_FRAME_BYTES`) + one CBOR map
    message = {"v": 1, "op": ..., and exactly the fields of one of the dataclasses below, under their names}

    host                                   enclave
    Describe                          -->  Description
    Attest                            -->  Quote
    Execute                           -->  Need* (each answered by the host with Content), then ReceiptReply
    SignBatch                         -->  BatchSignature
    anything                          -->  ErrorReply

What comes in is refused unless every field is there, has its type and its size, and nothing else is there. Whatever
the bytes, parsing raises `InvalidInputError` and nothing else; reading a frame raises `LimitExceededError` (too
long), `TruncatedFrameError` (cut off), `EOFError` (closed between frames) or the socket's own `OSError`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, get_type_hints

import cbor2

from oracle.enclave.frames import MAX_FRAME_BYTES, TruncatedFrameError, read_frame, write_frame
from oracle.errors import EncodingError, InvalidInputError
from oracle.types.ids import Address
from oracle.types.program import Engine, Limits
from oracle.types.receipt import Outcome, Receipt
from oracle.types.request import Request

__all__ = [
    "MAX_FRAME_BYTES",
    "Attest",
    "BatchSignature",
    "Content",
    "Describe",
    "Description",
    "EnclaveMessage",
    "ErrorReply",
    "Execute",
    "HostMessage",
    "Need",
    "Quote",
    "ReceiptReply",
    "SignBatch",
    "SignedReceipt",
    "TruncatedFrameError",
    "encode",
    "parse_enclave_message",
    "parse_host_message",
    "read_frame",
    "write_frame",
]

VERSION = 1
MAX_BATCH_RECEIPTS = 256
MAX_LOG_LINES = 65_536
_FOREIGN_TAGS = (0, 1, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000)  # all but bignum, 2


# -- fields: how each looks on the wire --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wire:
    """`unpack` checks and reads a plain CBOR value, `pack` makes one; `name` is the key if not the attribute's."""

    unpack: Callable[[Any], Any]
    pack: Callable[[Any], Any] = lambda value: value
    name: str | None = None


def _bytes(exact: int | None = None) -> Callable[[Any], bytes]:
    def unpack(value: Any) -> bytes:
        if type(value) is not bytes or (exact is not None and len(value) != exact):
            raise EncodingError("must be bytes" if exact is None else f"must be {exact} bytes")
        return value

    return unpack


def _integer(bits: int) -> Callable[[Any], int]:
    def unpack(value: Any) -> int:
        if type(value) is not int or not 0 <= value < 1 << bits:
            raise EncodingError(f"must be an unsigned integer of {bits} bits")
        return value

    return unpack


def _text(value: Any) -> str:
    if type(value) is not str:
        raise EncodingError("must be text")
    return value


def _enumeration(kind: type[Engine | Outcome]) -> _Wire:
    def unpack(value: Any) -> Engine | Outcome:
        try:
            return kind(_integer(8)(value))
        except ValueError as error:
            raise EncodingError(f"must name an {kind.__name__.lower()}, not {value}") from error

    return _Wire(unpack, int)


def _record(kind: type[Any]) -> _Wire:
    return _Wire(lambda value: _unpack_record(kind, value), lambda record: _pack_record(record))  # noqa: PLW0108  # defined below


def _tuple(item: _Wire, most: int) -> _Wire:
    def unpack(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > most:
            raise EncodingError(f"must be a list of at most {most}")
        return tuple(item.unpack(element) for element in value)

    return _Wire(unpack, lambda values: [item.pack(value) for value in values])


_Account = Annotated[Address, _Wire(_bytes(20))]
_Word = Annotated[bytes, _Wire(_bytes(32))]
_Signature = Annotated[bytes, _Wire(_bytes(64))]
_Data = Annotated[bytes, _Wire(_bytes())]
_OptionalData = Annotated[bytes | None, _Wire(lambda value: value if value is None else _bytes()(value), name="bytes")]
_ChainId = Annotated[int, _Wire(_integer(256))]
_Fuel = Annotated[int, _Wire(_integer(64))]
_Text = Annotated[str, _Wire(_text)]
_EngineField = Annotated[Engine, _enumeration(Engine)]
_OutcomeField = Annotated[Outcome, _enumeration(Outcome)]
# The value types of `oracle.types` check ranges and sizes in their constructors.
_PLAIN = {int: _Wire(_integer(256)), bytes: _Wire(_bytes())}


# -- messages ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Describe:
    """Who are you?"""


@dataclass(frozen=True, slots=True)
class Attest:
    """Give a quote that registers your keys for `operator` in `registry`."""

    chain_id: _ChainId
    registry: _Account
    operator: _Account
    anchor_block_hash: _Word


@dataclass(frozen=True, slots=True)
class Execute:
    """Serve `request`. The enclave asks for manifest, code and blobs with `Need` as far as it does not have them."""

    request: Annotated[Request, _record(Request)]
    engine: _EngineField
    manifest_hash: _Word
    code_hash: _Word
    input: _Data
    payee: _Account


@dataclass(frozen=True, slots=True)
class Content:
    """The answer to `Need`: the bytes behind `hash`, or None if the host does not have them."""

    hash: _Word
    data: _OptionalData


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """One receipt of a batch, with the signature that the enclave made when it executed the request."""

    request_id: _Word
    outcome: _OutcomeField
    output_hash: _Word
    fuel_used: _Fuel
    payee: _Account
    signature: _Signature

    @classmethod
    def of(cls, receipt: Receipt, signature: bytes) -> SignedReceipt:
        """`receipt` with its signature."""
        return cls(
            receipt.request_id, receipt.outcome, receipt.output_hash, receipt.fuel_used, receipt.payee, signature
        )


@dataclass(frozen=True, slots=True)
class SignBatch:
    """Sign these receipts, all your own and all of this chain and contract, as one batch."""

    chain_id: _ChainId
    coprocessor: _Account
    receipts: Annotated[tuple[SignedReceipt, ...], _tuple(_record(SignedReceipt), MAX_BATCH_RECEIPTS)]


@dataclass(frozen=True, slots=True)
class Description:
    """Who the enclave is, and the most it lets a manifest ask for."""

    signer: _Account
    sealing_key: _Word  # X25519
    measurement: _Word
    quoter: _Text  # whose quotes: "simulated" ones prove nothing
    engines: Annotated[tuple[str, ...], _tuple(_Wire(_text), 8)]  # "js", "wasm"
    ceilings: Annotated[Limits, _record(Limits)]


@dataclass(frozen=True, slots=True)
class Quote:
    """Evidence for `EnclaveRegistry.register`."""

    quote: _Data


@dataclass(frozen=True, slots=True)
class Need:
    """The enclave needs the content behind `hash` to go on with the request. Answer with `Content`."""

    hash: _Word


@dataclass(frozen=True, slots=True)
class ReceiptReply:
    """A request was served. `output` is the program's output, or the reason if the outcome is not Completed."""

    request_id: _Word
    outcome: _OutcomeField
    output: _Data
    fuel_used: _Fuel
    payee: _Account
    signer: _Account
    signature: _Signature  # EIP-2098, over the receipt's EIP-712 digest
    logs: Annotated[tuple[str, ...], _tuple(_Wire(_text), MAX_LOG_LINES)]  # not part of the receipt


@dataclass(frozen=True, slots=True)
class BatchSignature:
    """One signature over all receipts of `SignBatch`, in their order."""

    signer: _Account
    signature: _Signature


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """
    No receipt. `code` is one of `bad_message`, `inconsistent_request`, `content_unavailable` (try again when the host
    has it), `content_mismatch`, `foreign_receipt`, `internal`.
    """

    code: _Text
    message: _Text


HostMessage = Describe | Attest | Execute | Content | SignBatch
EnclaveMessage = Description | Quote | Need | ReceiptReply | BatchSignature | ErrorReply
_HOST_OPS: Mapping[str, type[Any]] = {
    "describe": Describe,
    "attest": Attest,
    "execute": Execute,
    "content": Content,
    "sign_batch": SignBatch,
}
_ENCLAVE_OPS: Mapping[str, type[Any]] = {
    "description": Description,
    "quote": Quote,
    "need": Need,
    "receipt": ReceiptReply,
    "batch": BatchSignature,
    "error": ErrorReply,
}
_OP_OF = {kind: op for table in (_HOST_OPS, _ENCLAVE_OPS) for op, kind in table.items()}


# -- encoding ----------------------------------------------------------------------------------------------------------


def encode(message: HostMessage | EnclaveMessage) -> bytes:
    """The body of the frame that carries `message`."""
    body: bytes = cbor2.dumps({"v": VERSION, "op": _OP_OF[type(message)], **_pack_record(message)})
    return body


def parse_host_message(body: bytes) -> HostMessage:
    """
    Read what a host sent.

    Raises:
        InvalidInputError: anything but exactly one well-formed message.
    """
    message: HostMessage = _parse(body, _HOST_OPS)
    return message


def parse_enclave_message(body: bytes) -> EnclaveMessage:
    """
    Read what an enclave sent.

    Raises:
        InvalidInputError: anything but exactly one well-formed message.
    """
    message: EnclaveMessage = _parse(body, _ENCLAVE_OPS)
    return message


def _parse(body: bytes, ops: Mapping[str, type[Any]]) -> Any:
    document = _decode(body)
    version, op = document.pop("v", None), document.pop("op", None)
    if type(version) is not int or version != VERSION:
        raise EncodingError(f"this side speaks version {VERSION}, not {version!r:.20}")
    if type(op) is not str or op not in ops:
        raise EncodingError(f"unknown op {op!r:.40}; known are {', '.join(ops)}")
    return _unpack_record(ops[op], document)


def _decode(body: bytes) -> dict[str, Any]:
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


def _layout(kind: type[Any]) -> Mapping[str, tuple[str, _Wire]]:
    """Wire name -> (attribute, how it looks on the wire)."""
    layout = {}
    for attribute, hint in get_type_hints(kind, include_extras=True).items():
        extras = getattr(hint, "__metadata__", ())
        wire = extras[0] if extras else _PLAIN[getattr(hint, "__supertype__", hint)]
        layout[wire.name or attribute] = (attribute, wire)
    return layout


def _unpack_record(kind: type[Any], value: Any) -> Any:
    layout = _LAYOUTS[kind]
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


def _pack_record(record: Any) -> dict[str, Any]:
    return {name: wire.pack(getattr(record, attribute)) for name, (attribute, wire) in _LAYOUTS[type(record)].items()}


_LAYOUTS = {kind: _layout(kind) for kind in (*_OP_OF, Request, Limits, SignedReceipt)}
