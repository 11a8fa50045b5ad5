"""PENDING -> EXECUTED or FAILED, whatever enclave and content do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oracle.crypto.ecdsa import SigningKey
from oracle.enclave.protocol import Execute, ReceiptReply
from oracle.errors import RetryableError
from oracle.jobs.execute import execute
from oracle.jobs.ports import FindContent
from oracle.store.rows import RequestState
from oracle.types.ids import Address
from tests.fakes import FakeEnclave
from tests.unit.jobs.conftest import CODE, MANIFEST, PROGRAM, RELAY, Bench


def test_execute_pending_request_stores_a_receipt_and_wakes_submit(bench: Bench) -> None:
    request_id = bench.ask()
    execute(bench.execute, request_id)
    stored = bench.store.requests.receipt(request_id)
    assert stored is not None
    assert (stored.output, stored.signer, stored.receipt.payee) == (b"tupni", bench.enclave.key.address, RELAY.address)
    assert stored.logs == b"a line"
    assert bench.state(request_id) is RequestState.EXECUTED
    assert bench.queue.woken == [("submit", request_id)]


def test_execute_again_runs_nothing_but_wakes_submit_again(bench: Bench) -> None:
    """P1: every step may be repeated."""
    request_id = bench.ask()
    for _ in range(3):
        execute(bench.execute, request_id)
    assert bench.enclave.executed == [request_id]
    assert bench.queue.woken == [("submit", request_id)] * 3


def test_execute_program_recovered_from_the_chain_is_kept(bench: Bench) -> None:
    execute(bench.execute, bench.ask(1))
    assert bench.content.get(PROGRAM.manifest_hash) == MANIFEST
    assert bench.content.get(PROGRAM.code_hash) == CODE
    bench.registry.reads.clear()
    execute(bench.execute, bench.ask(2))
    assert "code" not in bench.registry.reads


def test_execute_unpublished_program_fails_with_the_reason(bench: Bench) -> None:
    """P6."""
    bench.registry.published.clear()
    request_id = bench.ask()
    execute(bench.execute, request_id)
    assert bench.state(request_id) is RequestState.FAILED
    assert "not published" in str(bench.get(request_id).reason)
    assert bench.queue.woken == []


def test_execute_request_too_near_its_deadline_gives_no_work_away(bench: Bench) -> None:
    """P6."""
    dependencies = replace(bench.execute, deadline_margin_s=24)
    now_s = bench.now_ms() // 1_000
    near, far = bench.ask(0, deadline_s=now_s + 23), bench.ask(1, deadline_s=now_s + 24)
    execute(dependencies, near)
    execute(dependencies, far)
    assert bench.state(near) is RequestState.FAILED
    assert "too near to settle" in str(bench.get(near).reason)
    assert bench.state(far) is RequestState.EXECUTED


def test_execute_code_that_nobody_has_fails_until_somebody_adds_it(bench: Bench) -> None:
    """P6."""
    bench.registry.published[PROGRAM.program_id] = (PROGRAM, MANIFEST, None)
    request_id = bench.ask()
    execute(bench.execute, request_id)
    assert bench.state(request_id) is RequestState.FAILED
    assert PROGRAM.code_hash.hex() in str(bench.get(request_id).reason)
    bench.content.put(CODE)
    bench.clock[0] += 60_000
    assert request_id in bench.store.requests.take_due(bench.clock[0], 1_000, 10)
    execute(bench.execute, request_id)
    assert bench.state(request_id) is RequestState.EXECUTED


def test_execute_content_that_does_not_match_its_hash_is_never_given_out(bench: Bench) -> None:
    bench.registry.published[PROGRAM.program_id] = (PROGRAM, MANIFEST, b"other code")
    request_id = bench.ask()
    execute(bench.execute, request_id)
    assert bench.state(request_id) is RequestState.FAILED


def test_execute_request_that_ended_or_was_orphaned_does_nothing(bench: Bench) -> None:
    request_id = bench.ask()
    tail = bench.store.chain.tail()
    bench.store.chain.rewind(tail[0], tail[-1])
    execute(bench.execute, request_id)
    assert bench.enclave.executed == []
    assert bench.state(request_id) is RequestState.PENDING


class Liar(FakeEnclave):
    """Changes its reply after signing."""

    def __init__(self, **changes: object) -> None:
        super().__init__()
        self.changes = changes

    def execute(self, message: Execute, find: FindContent) -> ReceiptReply:
        return replace(super().execute(message, find), **self.changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"output": b"another"},
        {"fuel_used": 1},
        {"payee": Address(b"\x66" * 20)},
        {"request_id": b"\x66" * 32},
        {"signer": Address(SigningKey().address)},
        {"signature": b"\xff" * 64},
    ],
)
def test_execute_receipt_that_is_not_what_was_signed_is_not_stored(bench: Bench, changes: dict[str, object]) -> None:
    """P8: what the enclave says is checked against what it signed."""
    bench.enclave = Liar(**changes)
    request_id = bench.ask()
    execute(bench.execute, request_id)
    assert bench.state(request_id) is RequestState.FAILED
    assert bench.store.requests.receipt(request_id) is None


def test_execute_chain_that_is_away_leaves_the_request_pending(bench: Bench) -> None:
    class Away(FakeEnclave):
        def execute(self, message: Execute, find: FindContent) -> ReceiptReply:
            raise RetryableError("away")

    bench.enclave = Away()
    request_id = bench.ask()
    with pytest.raises(RetryableError):
        execute(bench.execute, request_id)
    assert bench.state(request_id) is RequestState.PENDING
