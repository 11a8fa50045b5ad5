"""
The enclave's channel: frames, and the messages inside them. Used by both sides; its only I/O is to move frames.

    frame   = u32 big-endian length (at most `MAX_FRAME_BYTES`) + one CBOR map
    message = {"v": 1, "op": ..., and exactly the fields of one of the dataclasses below, under their names}

    host                                   enclave
    Describe                          -->  Description
    Attest                            -->  Quote
    Execute                           -->  Need* (each answered by the host with Content), Dial* (with Dialled), Carry*
                                           and HangUp* (with Carried), then ReceiptReply
    SignBatch                         -->  BatchSignature
    anything                          -->  ErrorReply

What comes in is refused unless every field is there, has its type and its size, and nothing else is there. Whatever
the bytes, parsing raises `InvalidInputError` and nothing else; reading a frame raises `LimitExceededError` (too
long), `TruncatedFrameError` (cut off), `EOFError` (closed between frames) or the socket's own `OSError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import cbor2

from oracle.enclave.frames import MAX_FRAME_BYTES, TruncatedFrameError, read_frame, write_frame
from oracle.enclave.wire import (
    Wire,
    at_most,
    decode,
    enumeration,
    integer,
    listed,
    pack_record,
    record,
    sized,
    text,
    truth,
    unpack_record,
)
from oracle.errors import EncodingError
from oracle.types.ids import Address, RequestId
from oracle.types.program import Engine, Limits
from oracle.types.receipt import NO_CONTEXT, Outcome, Receipt
from oracle.types.request import Request
from oracle.types.transcript import MAX_FETCHES, Fetched

__all__ = [
    "MAX_FRAME_BYTES",
    "Attest",
    "BatchSignature",
    "Carried",
    "Carry",
    "Content",
    "Describe",
    "Description",
    "Dial",
    "Dialled",
    "EnclaveMessage",
    "ErrorReply",
    "Execute",
    "HangUp",
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

VERSION = 2
MAX_CARRIED_BYTES = 64 << 10  # at once, from the pipe to the enclave
MAX_BATCH_RECEIPTS = 256
MAX_LOG_LINES = 65_536

_Account = Annotated[Address, Wire(sized(20))]
_Word = Annotated[bytes, Wire(sized(32))]
_Signature = Annotated[bytes, Wire(sized(64))]
_Data = Annotated[bytes, Wire(sized())]
_OptionalData = Annotated[bytes | None, Wire(lambda value: value if value is None else sized()(value), name="bytes")]
_ChainId = Annotated[int, Wire(integer(256))]
_Fuel = Annotated[int, Wire(integer(64))]
_Text = Annotated[str, Wire(text)]
_Milliseconds = Annotated[int, Wire(integer(32))]
_EngineField = Annotated[Engine, enumeration(Engine)]
_OutcomeField = Annotated[Outcome, enumeration(Outcome)]

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

    request: Annotated[Request, record(Request)]
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
class Dialled:
    """The answer to `Dial`: connected, if `refusal` is empty."""

    refusal: _Text


@dataclass(frozen=True, slots=True)
class Carried:
    """The answer to `Carry` and `HangUp`: what came in, if anything, and whether more can."""

    data: Annotated[bytes, Wire(at_most(MAX_CARRIED_BYTES))]
    is_open: Annotated[bool, Wire(truth)]


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """One receipt of a batch, with the signature that the enclave made when it executed the request."""

    request_id: _Word
    outcome: _OutcomeField
    output_hash: _Word
    fuel_used: _Fuel
    payee: _Account
    signature: _Signature
    context: _Word = NO_CONTEXT

    @classmethod
    def of(cls, receipt: Receipt, signature: bytes) -> SignedReceipt:
        """`receipt` with its signature."""
        return cls(
            receipt.request_id,
            receipt.outcome,
            receipt.output_hash,
            receipt.fuel_used,
            receipt.payee,
            signature,
            receipt.context,
        )

    @property
    def receipt(self) -> Receipt:
        """What was signed."""
        return Receipt(
            RequestId(self.request_id), self.outcome, self.output_hash, self.fuel_used, self.payee, self.context
        )


@dataclass(frozen=True, slots=True)
class SignBatch:
    """Sign these receipts, all your own and all of this chain and contract, as one batch."""

    chain_id: _ChainId
    coprocessor: _Account
    receipts: Annotated[tuple[SignedReceipt, ...], listed(record(SignedReceipt), MAX_BATCH_RECEIPTS)]


@dataclass(frozen=True, slots=True)
class Description:
    """Who the enclave is, and the most it lets a manifest ask for."""

    signer: _Account
    sealing_key: _Word  # X25519
    measurement: _Word
    quoter: _Text  # whose quotes: "simulated" ones prove nothing
    engines: Annotated[tuple[str, ...], listed(Wire(text), 8)]  # "js", "wasm"
    ceilings: Annotated[Limits, record(Limits)]


@dataclass(frozen=True, slots=True)
class Quote:
    """Evidence for `EnclaveRegistry.register`."""

    quote: _Data


@dataclass(frozen=True, slots=True)
class Need:
    """The enclave needs the content behind `hash` to go on with the request. Answer with `Content`."""

    hash: _Word


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to `host`, which you resolve, within `wait_ms`; you only carry bytes. Answer with `Dialled`."""

    host: _Text
    port: Annotated[int, Wire(integer(16))]
    wait_ms: _Milliseconds


@dataclass(frozen=True, slots=True)
class Carry:
    """Send `data` there, wait at most `wait_ms` for bytes to come in. Answer with `Carried`."""

    data: _Data
    wait_ms: _Milliseconds


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close that connection. Answer with `Carried`."""


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
    logs: Annotated[tuple[str, ...], listed(Wire(text), MAX_LOG_LINES)]  # not part of the receipt
    transcript: Annotated[tuple[Fetched, ...], listed(record(Fetched), MAX_FETCHES)] = ()  # the receipt has its hash


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


HostMessage = Describe | Attest | Execute | Content | Dialled | Carried | SignBatch
EnclaveMessage = Description | Quote | Need | Dial | Carry | HangUp | ReceiptReply | BatchSignature | ErrorReply
_HOST_OPS: Mapping[str, type[Any]] = {
    "describe": Describe,
    "attest": Attest,
    "execute": Execute,
    "content": Content,
    "dialled": Dialled,
    "carried": Carried,
    "sign_batch": SignBatch,
}
_ENCLAVE_OPS: Mapping[str, type[Any]] = {
    "description": Description,
    "quote": Quote,
    "need": Need,
    "dial": Dial,
    "carry": Carry,
    "hang_up": HangUp,
    "receipt": ReceiptReply,
    "batch": BatchSignature,
    "error": ErrorReply,
}
_OP_OF = {kind: op for table in (_HOST_OPS, _ENCLAVE_OPS) for op, kind in table.items()}


# -- encoding ----------------------------------------------------------------------------------------------------------


def encode(message: HostMessage | EnclaveMessage) -> bytes:
    """The body of the frame that carries `message`."""
    body: bytes = cbor2.dumps({"v": VERSION, "op": _OP_OF[type(message)], **pack_record(message)})
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
    document = decode(body)
    version, op = document.pop("v", None), document.pop("op", None)
    if type(version) is not int or version != VERSION:
        raise EncodingError(f"this side speaks version {VERSION}, not {version!r:.20}")
    if type(op) is not str or op not in ops:
        raise EncodingError(f"unknown op {op!r:.40}; known are {', '.join(ops)}")
    return unpack_record(ops[op], document)
