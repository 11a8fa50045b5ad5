"""PENDING -> EXECUTED or FAILED, whatever enclave and content do."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import replace

import pytest

from oracle import metrics
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import keccak256
from oracle.enclave.protocol import Description, Execute, ReceiptReply
from oracle.errors import RetryableError
from oracle.jobs.execute import keep_holding, release, work
from oracle.jobs.ports import FindContent
from oracle.jobs.sweep import sweep
from oracle.log import JsonFormatter
from oracle.store.rows import RequestState
from oracle.types.ids import Address, hex_of
from oracle.types.transcript import Fetched, context_of, parse_transcript
from tests.fakes import FakeEnclave
from tests.unit.jobs.conftest import CODE, MANIFEST, PROGRAM, RELAY, Bench


def test_execute_pending_request_stores_a_receipt_and_wakes_submit(bench: Bench) -> None:
    request_id = bench.ask()
    work(bench.execute)
    stored = bench.store.requests.receipt(request_id)
    assert stored is not None
    assert (stored.output, stored.signer, stored.receipt.payee) == (b"tupni", bench.enclave.key.address, RELAY.address)
    assert stored.logs == b"a line"
    assert bench.state(request_id) is RequestState.EXECUTED
    assert bench.queue.woken == [("execute", b""), ("submit", request_id)]


def test_work_again_runs_nothing(bench: Bench) -> None:
    """P1: every step may be repeated."""
    request_id = bench.ask()
    assert [work(bench.execute) for _ in range(3)] == [1, 0, 0]
    assert bench.enclave.executed == [request_id]


def test_execute_program_recovered_from_the_chain_is_kept(bench: Bench) -> None:
    bench.ask(1)
    work(bench.execute)
    assert bench.content.get(PROGRAM.manifest_hash) == MANIFEST
    assert bench.content.get(PROGRAM.code_hash) == CODE
    bench.registry.reads.clear()
    bench.ask(2)
    work(bench.execute)
    assert "code" not in bench.registry.reads


def test_execute_unpublished_program_fails_with_the_reason(bench: Bench) -> None:
    """P6."""
    bench.registry.published.clear()
    request_id = bench.ask()
    work(bench.execute)
    assert bench.state(request_id) is RequestState.FAILED
    assert "not published" in str(bench.get(request_id).reason)
    assert bench.queue.woken == [("execute", b"")]


def test_work_request_too_near_its_deadline_gives_no_work_away(bench: Bench) -> None:
    """P6: it is not taken, and the sweeper gives it up."""
    now_s = bench.now_ms() // 1_000
    near, far = bench.ask(0, deadline_s=now_s + 24), bench.ask(1, deadline_s=now_s + 30)
    bench.clock[0] += 1_000
    work(replace(bench.execute, deadline_margin_s=24))
    assert bench.enclave.executed == [far]
    sweep(replace(bench.sweep, deadline_margin_s=24))
    assert bench.state(near) is RequestState.FAILED
    assert "too near" in str(bench.get(near).reason)


def test_work_request_that_came_too_near_after_it_was_taken_is_not_served(bench: Bench) -> None:
    """P6."""
    request_id = bench.ask(deadline_s=bench.now_ms() // 1_000 + 30)

    ticks = iter([0, *[7_000] * 9])
    dependencies = replace(bench.execute, deadline_margin_s=24, now_ms=lambda: bench.now_ms() + next(ticks))
    work(dependencies)
    assert bench.enclave.executed == []
    assert "too near to settle" in str(bench.get(request_id).reason)


def test_execute_code_that_nobody_has_fails_until_somebody_adds_it(bench: Bench) -> None:
    """P6."""
    bench.registry.published[PROGRAM.program_id] = (PROGRAM, MANIFEST, None)
    request_id = bench.ask()
    work(bench.execute)
    assert bench.state(request_id) is RequestState.FAILED
    assert PROGRAM.code_hash.hex() in str(bench.get(request_id).reason)
    bench.content.put(CODE)
    bench.clock[0] += 60_000
    assert request_id in bench.store.requests.take_due(bench.clock[0], 1_000, 10)
    work(bench.execute)
    assert bench.state(request_id) is RequestState.EXECUTED


def test_execute_content_that_does_not_match_its_hash_is_never_given_out(bench: Bench) -> None:
    bench.registry.published[PROGRAM.program_id] = (PROGRAM, MANIFEST, b"other code")
    request_id = bench.ask()
    work(bench.execute)
    assert bench.state(request_id) is RequestState.FAILED


def test_execute_request_that_ended_or_was_orphaned_does_nothing(bench: Bench) -> None:
    request_id = bench.ask()
    tail = bench.store.chain.tail()
    bench.store.chain.rewind(tail[0], tail[-1])
    work(bench.execute)
    assert bench.enclave.executed == []
    assert bench.state(request_id) is RequestState.PENDING


class Liar(FakeEnclave):
    """Changes its reply after signing."""

    def __init__(self, **changes: object) -> None:
        super().__init__()
        self.changes = changes

    def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
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
    work(bench.execute)
    assert bench.state(request_id) is RequestState.FAILED
    assert bench.store.requests.receipt(request_id) is None


FETCHED = Fetched("https://prices.example/", "GET", bytes(32), 200, keccak256(b"1.25"), bytes(32), 1)


def test_execute_transcript_is_stored_with_the_receipt_that_commits_to_it(bench: Bench) -> None:
    """F5."""
    bench.enclave = FakeEnclave(transcript=(FETCHED, FETCHED))
    request_id = bench.ask()
    work(bench.execute)
    stored = bench.store.requests.receipt(request_id)
    assert stored is not None
    assert parse_transcript(stored.transcript) == (FETCHED, FETCHED)
    assert stored.receipt.context == context_of((FETCHED, FETCHED))


@pytest.mark.parametrize("transcript", [(), (FETCHED, FETCHED), (replace(FETCHED, status=201),)])
def test_execute_transcript_that_is_not_what_was_signed_is_not_stored(
    bench: Bench, transcript: tuple[Fetched, ...]
) -> None:
    """F5, P8."""

    class Forgetful(FakeEnclave):
        def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
            return replace(super().execute(message, find), transcript=transcript)

    bench.enclave = Forgetful(transcript=(FETCHED,))
    request_id = bench.ask()
    work(bench.execute)
    assert bench.state(request_id) is RequestState.FAILED
    assert bench.store.requests.receipt(request_id) is None


class Away(FakeEnclave):
    """Answers, and then goes away while it executes."""

    def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
        raise RetryableError("away")


class Missing(FakeEnclave):
    def describe(self) -> Description:
        raise RetryableError("nobody listens")


def test_work_enclave_that_goes_away_leaves_the_request_pending_for_a_growing_pause(bench: Bench) -> None:
    """P1."""
    request_id = bench.ask()
    bench.enclave, there = Away(), bench.enclave
    assert work(bench.execute) == 0
    stored = bench.get(request_id)
    assert (stored.state, stored.attempts, stored.reason) == (RequestState.PENDING, 1, "away")
    bench.enclave = there
    assert work(bench.execute) == 0
    bench.clock[0] += 1_000
    assert work(bench.execute) == 1
    assert bench.state(request_id) is RequestState.EXECUTED


def test_work_one_request_that_fails_gives_the_others_back_at_once(bench: Bench) -> None:
    ids = [bench.ask(number) for number in range(8)]
    bench.enclave, there = Away(), bench.enclave
    work(bench.execute)
    bench.enclave = there
    assert work(bench.execute) == len(ids) - 1


def test_work_missing_enclave_takes_nothing(bench: Bench) -> None:
    """P19, back-pressure: the backlog stays where it is, and costs no attempts."""
    request_id = bench.ask()
    bench.enclave = Missing()
    with pytest.raises(RetryableError):
        work(bench.execute)
    assert bench.store.turns.take("another", 1, bench.now_ms(), 1_000)[0].request_id == request_id
    assert bench.get(request_id).attempts == 0


def test_work_killed_worker_frees_what_it_held_when_it_is_back(bench: Bench) -> None:
    """P1, P17: kill -9 in the middle of a job."""
    request_id = bench.ask()
    dependencies = bench.execute
    assert bench.store.turns.take(dependencies.worker, 1, bench.now_ms(), 60_000)  # and here it is killed
    assert work(dependencies) == 0
    release(dependencies)
    assert work(dependencies) == 1
    assert bench.state(request_id) is RequestState.EXECUTED


def test_work_long_job_is_held_for_as_long_as_it_takes(bench: Bench) -> None:
    """P17: another worker takes it only when this one says nothing any more."""
    bench.ask()
    dependencies, seen = bench.execute, []

    class Long(FakeEnclave):
        def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
            for _ in range(5):
                bench.clock[0] += dependencies.hold_ms * 2 // 3
                keep_holding(dependencies)
                seen.extend(bench.store.turns.take("another", 1, bench.now_ms(), 1_000))
            return super().execute(message, find)

    bench.enclave = Long()
    assert work(dependencies) == 1
    assert seen == []
    assert dependencies.holding == set()


def test_work_stops_after_its_time_and_wakes_the_next(bench: Bench) -> None:
    for number in range(3):
        bench.ask(number)
    assert work(replace(bench.execute, work_s=0.0)) == 0
    assert bench.queue.woken == [("execute", b"")]


def test_work_backlog_is_served_in_batches_that_grow(bench: Bench) -> None:
    asked = {bench.ask(number) for number in range(40)}
    assert work(replace(bench.execute, work_s=60)) == len(asked)
    assert set(bench.enclave.executed) == asked
    assert len(bench.enclave.executed) == len(asked)


def test_work_receipts_of_a_batch_wake_submit_once(bench: Bench) -> None:
    asked = {bench.ask(number) for number in range(3)}
    assert work(replace(bench.execute, work_s=60)) == len(asked)
    woken = [name for name, _ in bench.queue.woken]
    assert woken.count("submit") == 2  # one alone, for the first is not kept waiting; then two together
    assert {bench.state(request_id) for request_id in asked} == {RequestState.EXECUTED}


def test_work_receipts_made_before_the_enclave_goes_away_are_kept(bench: Bench) -> None:
    """P1."""
    asked = [bench.ask(number) for number in range(7)]

    class Mortal(FakeEnclave):
        def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
            if len(self.executed) == 5:
                raise RetryableError("away")
            return super().execute(message, find)

    bench.enclave = Mortal()
    work(replace(bench.execute, work_s=60))
    states = [bench.state(request_id) for request_id in asked]
    assert states.count(RequestState.EXECUTED) == 5
    assert states.count(RequestState.PENDING) == 2


def test_work_every_line_about_a_request_names_it(bench: Bench) -> None:
    request_id = bench.ask()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("oracle.jobs.execute")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        work(bench.execute)
    finally:
        logger.removeHandler(handler)
    (line,) = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (line["message"], line["request_id"]) == ("executed: completed", hex_of(request_id))


def test_work_counts_outcomes_and_failures(bench: Bench) -> None:
    before = [metrics.value("executions", outcome="completed"), metrics.value("execution_failures", again="no")]
    bench.ask(0)
    work(bench.execute)
    bench.registry.published.clear()
    bench.ask(1)
    work(bench.execute)
    after = [metrics.value("executions", outcome="completed"), metrics.value("execution_failures", again="no")]
    assert after == [before[0] + 1, before[1] + 1]
