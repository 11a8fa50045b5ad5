"""The channel refuses everything but exactly the messages it knows."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.enclave.protocol import (
    MAX_FRAME_BYTES,
    Attest,
    BatchSignature,
    Carried,
    Carry,
    Content,
    Describe,
    Description,
    Dial,
    Dialled,
    EnclaveMessage,
    ErrorReply,
    Execute,
    HangUp,
    HostMessage,
    Need,
    Quote,
    ReceiptReply,
    SignBatch,
    SignedReceipt,
    TruncatedFrameError,
    encode,
    parse_enclave_message,
    parse_host_message,
    read_frame,
    write_frame,
)
from oracle.errors import EncodingError, InvalidInputError, LimitExceededError
from oracle.types.ids import Address, PoolId, ProgramId, RequestId
from oracle.types.program import Engine, Limits
from oracle.types.receipt import Outcome, Receipt
from oracle.types.request import Request
from oracle.types.transcript import Fetched

A20, B32, S64 = Address(bytes(range(20))), bytes(range(32)), bytes(range(64))
REQUEST = Request(2**255, A20, A20, ProgramId(B32), PoolId(B32), B32, 2**64 - 1, 1, 2, 3, 4)
SIGNED = SignedReceipt.of(Receipt(RequestId(B32), Outcome.KILLED, B32, 2**64 - 1, A20), S64)
FETCHED = Fetched("https://prices.example/", "GET", B32, 200, B32, B32, 2**64 - 1)
HOST_MESSAGES: list[HostMessage] = [
    Describe(),
    Attest(31337, A20, A20, B32),
    Execute(REQUEST, Engine.WASM, B32, B32, b"input", A20),
    Content(B32, b"content"),
    Content(B32, None),
    Dialled("no route"),
    Carried(b"bytes", is_open=True),
    SignBatch(1, A20, (SIGNED, SIGNED)),
]
ENCLAVE_MESSAGES: list[EnclaveMessage] = [
    Description(A20, B32, B32, "simulated", ("js", "wasm"), Limits()),
    Quote(b"quote"),
    Need(B32),
    Dial("prices.example", 443, 1_000),
    Carry(b"bytes", 1_000),
    HangUp(),
    ReceiptReply(B32, Outcome.COMPLETED, b"output", 5, A20, A20, S64, ("line", "zweite Zeile ü"), (FETCHED, FETCHED)),
    BatchSignature(A20, S64),
    ErrorReply("internal", "message"),
]


@pytest.mark.parametrize("message", HOST_MESSAGES, ids=lambda message: type(message).__name__)
def test_parse_host_message_encoded_message_round_trips(message: HostMessage) -> None:
    assert parse_host_message(encode(message)) == message


@pytest.mark.parametrize("message", ENCLAVE_MESSAGES, ids=lambda message: type(message).__name__)
def test_parse_enclave_message_encoded_message_round_trips(message: EnclaveMessage) -> None:
    assert parse_enclave_message(encode(message)) == message


@given(st.binary(max_size=400))
def test_parse_host_message_any_bytes_raises_only_invalid_input(body: bytes) -> None:
    with suppress(InvalidInputError):
        parse_host_message(body)


_cbor_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(HOST_MESSAGES), st.data())
def test_parse_host_message_one_field_replaced_parses_or_raises_invalid_input(
    message: HostMessage, data: st.DataObject
) -> None:
    document = cbor2.loads(encode(message))
    target = document
    while True:
        key = data.draw(st.sampled_from(sorted(target)))
        if not isinstance(target[key], dict) or data.draw(st.booleans()):
            break
        target = target[key]
    target[key] = data.draw(_cbor_values)
    with suppress(InvalidInputError):
        parse_host_message(cbor2.dumps(document))


def _changed(message: HostMessage, **changes: object) -> bytes:
    document = {**cbor2.loads(encode(message)), **changes}
    return cbor2.dumps({key: value for key, value in document.items() if value is not ...})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xa0",
        cbor2.dumps([1]),
        encode(Describe()) + b"\x00",
        encode(Describe())[:-1],
        cbor2.dumps({"v": 3, "op": "describe"}),
        cbor2.dumps({"v": True, "op": "describe"}),
        cbor2.dumps({"v": 2, "op": "receipt"}),
        cbor2.dumps({"v": 2, "op": ["describe"]}),
        cbor2.dumps({"v": 2, "op": "describe", "more": 1}),
        _changed(Attest(1, A20, A20, B32), registry=...),
        _changed(Attest(1, A20, A20, B32), registry=bytes(21)),
        _changed(Attest(1, A20, A20, B32), registry="0x" + "00" * 20),
        _changed(Attest(1, A20, A20, B32), chain_id=-1),
        _changed(Attest(1, A20, A20, B32), chain_id=2**256),
        _changed(Attest(1, A20, A20, B32), chain_id=1.0),
        _changed(HOST_MESSAGES[2], engine=3),
        _changed(HOST_MESSAGES[2], engine=True),
        _changed(SignBatch(1, A20, ()), receipts=[{}]),
        _changed(SignBatch(1, A20, ()), receipts={}),
        b"\xa2\x61v\x01\x61v\x01",
        b"\xbf\x61v\x01\xff",
        b"\xd8\x1c\xa0",
        b"\xc0\x78\x182013-03-21T20:04:00Z1234",
        b"\x81" * 100_000,
        b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_parse_host_message_malformed_raises_encoding_error(body: bytes) -> None:
    with pytest.raises(EncodingError):
        parse_host_message(body)


def test_parse_host_message_field_out_of_range_names_the_field() -> None:
    document = cbor2.loads(encode(HOST_MESSAGES[2]))
    document["request"]["callback_gas"] = 1 << 24
    with pytest.raises(InvalidInputError, match="callback_gas"):
        parse_host_message(cbor2.dumps(document))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_read_frame_split_into_single_bytes_is_put_together(pair: tuple[socket.socket, socket.socket]) -> None:
    for byte in struct.pack(">I", 3) + b"abc":
        pair[0].sendall(bytes([byte]))
    assert read_frame(pair[1]) == b"abc"


def test_read_frame_large_frame_round_trips(pair: tuple[socket.socket, socket.socket]) -> None:
    body = bytes(range(256)) * 20_000
    sender = threading.Thread(target=write_frame, args=(pair[0], body))
    sender.start()
    assert read_frame(pair[1]) == body
    sender.join()


def test_read_frame_empty_frame_is_empty(pair: tuple[socket.socket, socket.socket]) -> None:
    write_frame(pair[0], b"")
    assert read_frame(pair[1]) == b""


def test_read_frame_closed_between_frames_raises_eof(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()
    with pytest.raises(EOFError):
        read_frame(pair[1])


@pytest.mark.parametrize("sent", [b"\x00", b"\x00\x00\x00\x05abc"])
def test_read_frame_cut_off_raises_truncated(pair: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    pair[0].sendall(sent)
    pair[0].close()
    with pytest.raises(TruncatedFrameError):
        read_frame(pair[1])


def test_read_frame_oversized_raises_before_reading(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(struct.pack(">I", MAX_FRAME_BYTES + 1))
    with pytest.raises(LimitExceededError):
        read_frame(pair[1])


def test_write_frame_oversized_sends_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(LimitExceededError):
        write_frame(pair[0], bytes(MAX_FRAME_BYTES + 1))
    pair[0].close()
    with pytest.raises(EOFError):
        read_frame(pair[1])
