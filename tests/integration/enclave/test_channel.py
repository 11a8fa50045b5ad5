"""The enclave's channel, over a real socket to a real, locked process."""

from __future__ import annotations

import socket
import struct

import cbor2
import pytest
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.measurements import sgx_measurement
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.crypto.ecdsa import recover
from oracle.crypto.hashing import keccak256
from oracle.enclave.main import CEILINGS
from oracle.enclave.measurement import measure
from oracle.enclave.protocol import (
    MAX_FRAME_BYTES,
    Attest,
    BatchSignature,
    Content,
    Describe,
    Description,
    ErrorReply,
    Execute,
    Need,
    Quote,
    ReceiptReply,
    SignBatch,
    SignedReceipt,
    encode,
    read_frame,
    write_frame,
)
from oracle.types.attestation import report_data
from oracle.types.ids import RequestId
from oracle.types.program import Engine, Limits
from oracle.types.receipt import Outcome, Receipt, batch_digest
from tests.integration.enclave.conftest import CHAIN_ID, COPROCESSOR, PAYEE, EnclaveProcess, Host

ECHO = b"function main(input) { return input }"


def served(host: Host, order: Execute) -> ReceiptReply:
    """The receipt of an order, with its signature checked."""
    reply = host.ask(order)
    assert isinstance(reply, ReceiptReply), reply
    receipt = receipt_of(reply)
    assert recover(receipt.digest(CHAIN_ID, COPROCESSOR), reply.signature) == reply.signer
    assert reply.request_id == order.request.request_id
    assert reply.payee == order.payee
    return reply


def receipt_of(reply: ReceiptReply) -> Receipt:
    output_hash = keccak256(reply.output)
    return Receipt(RequestId(reply.request_id), reply.outcome, output_hash, reply.fuel_used, reply.payee)


def describe(host: Host) -> Description:
    reply = host.ask(Describe())
    assert isinstance(reply, Description)
    return reply


def test_describe_says_who_the_enclave_is(host: Host) -> None:
    me = describe(host)
    assert me.measurement == simulated_measurement(measure())
    assert me.ceilings == CEILINGS
    assert set(me.engines) == {"js", "wasm"}
    assert me == describe(host)


def test_execute_both_engines_gives_signed_receipts(host: Host) -> None:
    module = bytes(wasmtime.wat2wasm('(module (func (export "run")))'))
    reply = served(host, host.order(ECHO, b"hello"))
    assert (reply.outcome, reply.output, reply.signer) == (Outcome.COMPLETED, b"hello", describe(host).signer)
    reply = served(host, host.order(module, engine=Engine.WASM))
    assert (reply.outcome, reply.output, reply.fuel_used) == (Outcome.COMPLETED, b"", 1)


def test_execute_needs_contents_once(host: Host) -> None:
    order = host.order(b"function main(input) { return 'needs once' }")
    served(host, order)
    assert order.code_hash in host.asked
    host.asked.clear()
    served(host, order)
    assert host.asked == []


def test_execute_every_failure_of_the_program_is_a_signed_receipt(host: Host) -> None:
    few = Limits(fuel=10_000_000, input_bytes=4, output_bytes=4)
    cases = {
        b"function main() { throw new Error('x') }": Outcome.TRAPPED,
        b"function main() { while (true); }": Outcome.OUT_OF_FUEL,
        b"function main() { return 'too long' }": Outcome.OUTPUT_TOO_LARGE,
        b"}": Outcome.INVALID_PROGRAM,
    }
    for code, outcome in cases.items():
        assert served(host, host.order(code, limits=few)).outcome is outcome
    assert served(host, host.order(ECHO, b"12345", limits=few)).outcome is Outcome.INPUT_TOO_LARGE
    assert served(host, host.order(ECHO, limits=Limits(fuel=2**50))).outcome is Outcome.DENIED
    slow = Limits(fuel=CEILINGS.fuel, wall_time_ms=50)
    timed_out = served(host, host.order(b"function main() { while (true); }", limits=slow))
    assert (timed_out.outcome, timed_out.fuel_used) == (Outcome.TIMED_OUT, 0)
    recursion = bytes(wasmtime.wat2wasm('(module (func $f (export "run") (call $f)))'))
    killed = served(host, host.order(recursion, engine=Engine.WASM))
    assert (killed.outcome, killed.fuel_used) == (Outcome.KILLED, 0)


def test_execute_content_missing_is_an_error_and_no_receipt(host: Host) -> None:
    order = host.order(b"function main() { return 'missing' }")
    code = host.contents.pop(order.code_hash)
    reply = host.ask(order)
    assert isinstance(reply, ErrorReply)
    assert reply.code == "content_unavailable"
    host.contents[order.code_hash] = code + b" "
    reply = host.ask(order)
    assert isinstance(reply, ErrorReply)
    assert reply.code == "content_mismatch"
    host.contents[order.code_hash] = code
    assert served(host, order).output == b"missing"


def test_execute_blob_is_asked_for_in_the_middle_of_the_job(host: Host) -> None:
    name = host.publish(b"blob of the host")
    program = b"async function main(i) { await 0; return adyton.blob(i) }"
    reply = served(host, host.order(program, name, capabilities=frozenset({"blob"})))
    assert reply.output == b"blob of the host"
    assert host.asked[-1] == name


def test_execute_large_input_and_blob_cross_the_channel(host: Host) -> None:
    limits = Limits(input_bytes=1 << 20, output_bytes=64 << 10, memory_bytes=128 << 20, fuel=10_000_000_000)
    data = bytes(range(256)) * 4096
    reply = served(host, host.order(b"function main(i) { return i.slice(-65536) }", data, limits=limits))
    assert reply.output == data[-65536:]
    name = host.publish(data * 20)
    program = b"function main(i) { return String(adyton.blob(i).length) }"
    order = host.order(program, name, limits=limits, capabilities=frozenset({"blob"}))
    assert served(host, order).output == str(20 << 20).encode()


def test_execute_inconsistent_fields_are_an_error_and_no_receipt(host: Host) -> None:
    order = host.order(ECHO, b"in")
    reply = host.ask(Execute(order.request, order.engine, order.manifest_hash, order.code_hash, b"other", PAYEE))
    assert isinstance(reply, ErrorReply)
    assert reply.code == "inconsistent_request"


def test_execute_answer_to_need_that_is_no_answer_is_an_error(host: Host) -> None:
    order = host.order(b"function main() { return 'no answer' }", limits=Limits(fuel=77_777_777))
    host.send(order)
    assert isinstance(host.receive(), Need)
    host.send(Content(bytes(32), b""))
    reply = host.receive()
    assert isinstance(reply, ErrorReply)
    assert reply.code == "bad_message"
    assert served(host, order).output == b"no answer"


def test_execute_host_that_leaves_when_asked_does_not_harm_the_next(enclave: EnclaveProcess, host: Host) -> None:
    leaving = enclave.connect()
    leaving.send(leaving.order(b"function main() { return 'left' }", limits=Limits(fuel=66_666_666)))
    assert isinstance(leaving.receive(), Need)
    leaving.stream.close()
    assert served(host, host.order(ECHO, b"still here")).output == b"still here"


def test_describe_while_a_job_runs_is_answered(enclave: EnclaveProcess, host: Host) -> None:
    host.send(host.order(b"function main() { adyton.blob(new Uint8Array(32)) }", capabilities=frozenset({"blob"})))
    while isinstance(need := host.receive(), Need) and need.hash != bytes(32):
        host.send(Content(need.hash, host.contents[need.hash]))  # now the job runs, and waits for its blob
    other = enclave.connect()
    describe(other)
    other.stream.close()
    host.send(Content(bytes(32), None))
    assert isinstance(host.receive(), ErrorReply)


def test_describe_while_a_job_computes_is_answered(enclave: EnclaveProcess, host: Host) -> None:
    limits = Limits(fuel=CEILINGS.fuel, wall_time_ms=1_000)
    order = host.order(b"function main() { while (true); }", limits=limits)
    host.ask(order)
    host.send(order)
    other = enclave.connect()
    for _ in range(20):
        describe(other)
    host.stream.setblocking(False)
    with pytest.raises(BlockingIOError):
        host.stream.recv(1)
    host.stream.settimeout(30)
    reply = host.receive()
    assert isinstance(reply, ReceiptReply)
    assert reply.outcome is Outcome.TIMED_OUT
    other.stream.close()


def test_attest_quote_binds_the_keys_of_describe(host: Host) -> None:
    me, anchor = describe(host), bytes(range(32))
    reply = host.ask(Attest(CHAIN_ID, COPROCESSOR, PAYEE, anchor))
    assert isinstance(reply, Quote)
    report = parse_quote(reply.quote).body
    assert sgx_measurement(report) == me.measurement
    data = report_data(CHAIN_ID, COPROCESSOR, me.signer, me.sealing_key, PAYEE, anchor)
    assert report[320:384] == data.ljust(64, b"\0")


def test_sign_batch_own_receipts_are_signed_and_foreign_ones_are_not(host: Host) -> None:
    replies = [served(host, host.order(ECHO, bytes([n]), nonce=n)) for n in range(5)]
    signed = tuple(SignedReceipt.of(receipt_of(reply), reply.signature) for reply in replies)
    reply = host.ask(SignBatch(CHAIN_ID, COPROCESSOR, signed))
    assert isinstance(reply, BatchSignature)
    digest = batch_digest([receipt_of(it) for it in replies], CHAIN_ID, COPROCESSOR)
    assert recover(digest, reply.signature) == describe(host).signer
    for bad in (SignBatch(1, COPROCESSOR, signed), SignBatch(CHAIN_ID, PAYEE, signed), SignBatch(CHAIN_ID, PAYEE, ())):
        refused = host.ask(bad)
        assert isinstance(refused, ErrorReply)
        assert refused.code == "foreign_receipt"


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", cbor2.dumps([]), cbor2.dumps({"v": 9, "op": "describe"}), cbor2.dumps({"v": 1, "op": "exit"})],
)
def test_malformed_body_gets_an_error_and_the_connection_survives(host: Host, body: bytes) -> None:
    write_frame(host.stream, body)
    reply = host.receive()
    assert isinstance(reply, ErrorReply)
    assert reply.code == "bad_message"
    describe(host)


def test_content_that_nobody_asked_for_is_an_error(host: Host) -> None:
    reply = host.ask(Content(bytes(32), b"surprise"))
    assert isinstance(reply, ErrorReply)
    assert reply.code == "bad_message"


def test_oversized_frame_gets_an_error_and_the_connection_is_closed(enclave: EnclaveProcess, host: Host) -> None:
    host.stream.sendall(struct.pack(">I", MAX_FRAME_BYTES + 1))
    assert isinstance(host.receive(), ErrorReply)
    with pytest.raises(EOFError):
        read_frame(host.stream)
    describe(enclave.connect())


def test_truncated_frame_closes_the_connection_and_the_enclave_goes_on(enclave: EnclaveProcess, host: Host) -> None:
    host.stream.sendall(struct.pack(">I", 100) + b"cut")
    host.stream.shutdown(socket.SHUT_WR)
    assert isinstance(host.receive(), ErrorReply)
    with pytest.raises(EOFError):
        read_frame(host.stream)
    describe(enclave.connect())


_mutations = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=200) | _mutations)
def test_any_bytes_never_stop_the_enclave(enclave: EnclaveProcess, junk: bytes | list[tuple[float, int]]) -> None:
    host = enclave.connect()
    if isinstance(junk, bytes):
        write_frame(host.stream, junk)
    else:
        body = bytearray(encode(host.order(ECHO, b"fuzz")))
        for place, value in junk:
            body[int(place * (len(body) - 1))] = value
        write_frame(host.stream, bytes(body))
    while isinstance(reply := host.receive(), Need):
        host.send(Content(reply.hash, host.contents.get(reply.hash)))
    assert isinstance(reply, ErrorReply | ReceiptReply | Description)
    describe(host)
    host.stream.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(min_size=1, max_size=64))
def test_any_raw_stream_never_stops_the_enclave(enclave: EnclaveProcess, raw: bytes) -> None:
    host = enclave.connect()
    host.stream.sendall(raw)
    host.stream.close()
    fresh = enclave.connect()
    describe(fresh)
    fresh.stream.close()
