"""One suite for the fake enclave itself and for the fake behind the real protocol; and hosts' trouble with sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oracle.crypto.ecdsa import recover
from oracle.crypto.hashing import keccak256
from oracle.enclave.protocol import Execute, SignedReceipt, read_frame, write_frame
from oracle.errors import ContentUnavailableError, EnclaveError, LimitExceededError
from oracle.jobs.content import MAX_CONTENT_BYTES, ContentStore
from oracle.jobs.enclave_client import EnclaveClient, EnclaveUnreachableError
from oracle.jobs.ports import Enclave
from oracle.types.ids import Address, RequestId
from oracle.types.program import Engine
from oracle.types.receipt import Receipt, batch_digest
from tests.fakes import FakeEnclave, a_request, serving

PAYEE = Address(b"\x99" * 20)
CONTENT = {keccak256(b"manifest"): b"manifest", keccak256(b"code"): b"code"}


def message(number: int = 0) -> Execute:
    return Execute(a_request(number), Engine.JS, keccak256(b"manifest"), keccak256(b"code"), b"input", PAYEE)


@pytest.fixture(params=["in process", "behind the protocol"])
def enclave(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Enclave]:
    if request.param == "in process":
        yield FakeEnclave()
        return
    with serving(FakeEnclave(), tmp_path / "e.sock"):
        client = EnclaveClient(tmp_path / "e.sock")
        yield client
        client.close()


def test_execute_receipt_is_signed_by_the_described_key(enclave: Enclave) -> None:
    reply = enclave.execute(message(), CONTENT.get)
    receipt = Receipt(
        RequestId(reply.request_id), reply.outcome, keccak256(reply.output), reply.fuel_used, Address(reply.payee)
    )
    request = message().request
    assert recover(receipt.digest(request.chain_id, request.coprocessor), reply.signature) == reply.signer
    assert reply.signer == enclave.describe().signer
    assert (reply.request_id, reply.payee) == (request.request_id, PAYEE)


def test_execute_content_that_is_missing_is_named_and_the_next_job_works(enclave: Enclave) -> None:
    with pytest.raises(ContentUnavailableError) as raised:
        enclave.execute(message(), lambda _: None)
    assert raised.value.content_hash in CONTENT
    assert enclave.execute(message(), CONTENT.get).request_id == message().request.request_id


def test_execute_content_of_another_hash_is_refused(enclave: Enclave) -> None:
    with pytest.raises(EnclaveError) as raised:
        enclave.execute(message(), lambda _: b"something else")
    assert raised.value.code == "content_mismatch"


def test_sign_batch_own_receipts_only(enclave: Enclave) -> None:
    request = a_request()
    signed, receipts = [], []
    for number in range(3):
        reply = enclave.execute(message(number), CONTENT.get)
        receipt = Receipt(
            RequestId(reply.request_id), reply.outcome, keccak256(reply.output), reply.fuel_used, Address(reply.payee)
        )
        receipts.append(receipt)
        signed.append(SignedReceipt.of(receipt, reply.signature))
    batch = enclave.sign_batch(request.chain_id, request.coprocessor, tuple(signed))
    digest = batch_digest(receipts, request.chain_id, request.coprocessor)
    assert recover(digest, batch.signature) == batch.signer == enclave.describe().signer
    foreign = SignedReceipt.of(receipts[0], b"\x01" * 64)
    with pytest.raises(EnclaveError) as raised:
        enclave.sign_batch(request.chain_id, request.coprocessor, (foreign,))
    assert raised.value.code == "foreign_receipt"


def test_client_nobody_listens_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(EnclaveUnreachableError, match="adyton enclave"):
        EnclaveClient(tmp_path / "none.sock", connect_within_s=0.05).describe()


def test_client_enclave_that_restarts_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    client = EnclaveClient(path, connect_within_s=5)
    with serving(FakeEnclave(), path) as first:
        assert client.describe().signer == first.key.address
    with serving(FakeEnclave(), path) as second:
        assert client.describe().signer == second.key.address
    client.close()


def test_execute_what_was_sent_ahead_is_executed_once_and_answered_in_its_turn(tmp_path: Path) -> None:
    orders = [message(number) for number in range(4)]
    with serving(FakeEnclave(), tmp_path / "e.sock") as there:
        client = EnclaveClient(tmp_path / "e.sock")
        replies = [
            client.execute(order, CONTENT.get, then) for order, then in zip(orders, [*orders[1:], None], strict=True)
        ]
        assert [reply.request_id for reply in replies] == [order.request.request_id for order in orders]
        assert there.executed == [order.request.request_id for order in orders]
        assert client.describe().signer == there.key.address
        client.close()


def test_execute_something_else_than_was_sent_ahead_gets_its_own_answer(tmp_path: Path) -> None:
    first, ahead, other = (message(number) for number in range(3))
    with serving(FakeEnclave(), tmp_path / "e.sock") as there:
        client = EnclaveClient(tmp_path / "e.sock")
        client.execute(first, CONTENT.get, ahead)
        assert client.execute(other, CONTENT.get).request_id == other.request.request_id
        client.execute(first, CONTENT.get, ahead)
        assert client.describe().signer == there.key.address
        client.close()


def test_execute_enclave_that_dies_with_what_was_sent_ahead_is_asked_again(tmp_path: Path) -> None:
    first, ahead = message(0), message(1)
    client = EnclaveClient(tmp_path / "e.sock", connect_within_s=5)
    with serving(FakeEnclave(), tmp_path / "e.sock"):
        client.execute(first, CONTENT.get, ahead)
    with serving(FakeEnclave(), tmp_path / "e.sock"):
        with pytest.raises(EnclaveUnreachableError):
            client.execute(ahead, CONTENT.get)
        assert client.execute(ahead, CONTENT.get).request_id == ahead.request.request_id
        client.close()


def test_client_failure_while_finding_content_drops_the_connection(tmp_path: Path) -> None:
    def broken(_: bytes) -> bytes | None:
        raise EnclaveUnreachableError("the chain is away")

    with serving(FakeEnclave(), tmp_path / "e.sock"):
        client = EnclaveClient(tmp_path / "e.sock")
        with pytest.raises(EnclaveUnreachableError):
            client.execute(message(), broken)
        assert client.execute(message(), CONTENT.get).payee == PAYEE
        client.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda c: write_frame(c, b"noise"), EnclaveError),
        (lambda c: c.sendall(b"\xff\xff\xff\xff"), EnclaveError),
        (lambda c: c.sendall(b"\x00\x00\x00\x09abc"), EnclaveError),
        (lambda _: None, EnclaveUnreachableError),
    ],
)
def test_client_hostile_answer_is_one_of_our_errors(
    tmp_path: Path, answer: Callable[[socket.socket], None], error: type[Exception]
) -> None:
    path = tmp_path / "e.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        read_frame(connection)
        answer(connection)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(error):
        EnclaveClient(path).describe()
    listener.close()


def test_client_answer_that_does_not_come_ends_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    with pytest.raises(EnclaveUnreachableError):
        EnclaveClient(path, reply_timeout_s=0.05).describe()
    listener.close()


def test_content_is_given_back_only_as_it_was(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    name = content.put(b"facts")
    assert name == keccak256(b"facts") == content.put(b"facts")
    assert content.get(name) == b"facts"
    (tmp_path / name.hex()[:2] / name.hex()).write_bytes(b"falsified")
    assert content.get(name) is None
    content.put(b"facts")
    assert content.get(name) == b"facts"
    assert content.get(b"\x01" * 32) is None


def test_content_over_the_cap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitExceededError):
        ContentStore(tmp_path).put(bytes(MAX_CONTENT_BYTES + 1))
