"""EXECUTED -> SUBMITTED, alone or in batches; expiry and registration; what the sweeper finds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oracle.chain.contracts import abi
from oracle.chain.errors import RevertedError
from oracle.crypto.ecdsa import recover
from oracle.enclave.protocol import BatchSignature, SignedReceipt
from oracle.errors import EnclaveError, RetryableError
from oracle.jobs.execute import execute
from oracle.jobs.register import RegisterDependencies, ensure_registered
from oracle.jobs.submit import expire, submit, submit_registration
from oracle.jobs.sweep import sweep
from oracle.store.rows import EnclaveState, RequestState
from oracle.types.block import BlockRef
from oracle.types.ids import Address, RequestId
from oracle.types.receipt import batch_digest
from oracle.types.transaction import TransactionKind
from tests.fakes import FakeEnclave
from tests.unit.jobs.conftest import RELAY, START, Bench


def executed(bench: Bench, number: int = 0, **changes: object) -> RequestId:
    request_id = bench.ask(number, **changes)
    execute(bench.execute, request_id)
    return request_id


def sent(bench: Bench) -> list[tuple[TransactionKind, int, bytes]]:
    """Kind, number of subjects, and function selector of what is in the journal."""
    found = bench.store.journal.sent(Address(RELAY.address))
    return [(s.newest.kind, len(s.newest.subjects), s.newest.data[:4]) for s in found]


FULFILL = abi("Coprocessor").functions["fulfill"][0]
BATCH = abi("Coprocessor").functions["fulfillBatch"][0]


def test_submit_idle_sends_one_receipt_alone(bench: Bench) -> None:
    request_id = executed(bench)
    submit(bench.submit, request_id)
    submit(bench.submit, request_id)
    assert sent(bench) == [(TransactionKind.FULFILL, 1, FULFILL)]
    assert bench.state(request_id) is RequestState.SUBMITTED


def test_submit_under_load_takes_the_backlog_along(bench: Bench) -> None:
    ids = [executed(bench, number) for number in range(5)]
    submit(bench.submit, ids[3])
    assert sent(bench) == [(TransactionKind.FULFILL, 5, BATCH)]
    assert {bench.state(request_id) for request_id in ids} == {RequestState.SUBMITTED}
    for request_id in ids:
        submit(bench.submit, request_id)
    assert len(sent(bench)) == 1


def test_submit_batch_proof_is_by_the_receipts_enclave(bench: Bench) -> None:
    ids = [executed(bench, number) for number in range(3)]
    receipts = [bench.store.requests.receipt(request_id) for request_id in ids]
    plain = [stored.receipt for stored in receipts if stored is not None]
    request = bench.get(ids[0]).request
    submit(bench.submit, ids[0])
    data = bench.store.journal.sent(Address(RELAY.address))[0].newest.data
    signature = bench.enclave.key.sign(batch_digest(plain, request.chain_id, request.coprocessor))
    assert signature in data
    assert recover(batch_digest(plain, request.chain_id, request.coprocessor), signature) == bench.enclave.key.address


def test_submit_batch_of_big_callbacks_fits_into_one_transaction(bench: Bench) -> None:
    ids = [executed(bench, number, callback_gas=5_000_000) for number in range(5)]
    submit(bench.submit, ids[0])
    ((_, count, _),) = sent(bench)
    assert count == 2


def test_submit_without_the_enclave_goes_one_by_one(bench: Bench) -> None:
    """P1: what a dead enclave signed still counts."""
    ids = [executed(bench, number) for number in range(3)]
    bench.enclave = FakeEnclave()
    for request_id in ids:
        submit(bench.submit, request_id)
    assert sent(bench) == [(TransactionKind.FULFILL, 1, FULFILL)] * 3


def test_submit_enclave_that_refuses_a_batch_goes_one_by_one(bench: Bench) -> None:
    class Unwilling(FakeEnclave):
        def sign_batch(
            self, chain_id: int, coprocessor: Address, receipts: tuple[SignedReceipt, ...]
        ) -> BatchSignature:
            raise EnclaveError("internal", "no")

    bench.enclave = Unwilling()
    ids = [executed(bench, number) for number in range(2)]
    submit(bench.submit, ids[0])
    assert sent(bench) == [(TransactionKind.FULFILL, 1, FULFILL)]


def test_submit_receipt_that_the_chain_refuses_stays_executed_with_the_reason(bench: Bench) -> None:
    request_id = executed(bench)
    bench.node.reverts = RevertedError("SignerUnknown", (b"\x01" * 20,))
    submit(bench.submit, request_id)
    stored = bench.get(request_id)
    assert (stored.state, stored.attempts) == (RequestState.EXECUTED, 1)
    assert "SignerUnknown" in str(stored.reason)
    assert sent(bench) == []


def test_submit_node_that_is_away_changes_nothing(bench: Bench) -> None:
    request_id = executed(bench)
    bench.node.unreachable = True
    with pytest.raises(RetryableError):
        submit(bench.submit, request_id)
    assert bench.state(request_id) is RequestState.EXECUTED


def test_expire_is_sent_once(bench: Bench) -> None:
    request_id = bench.ask(deadline_s=START.timestamp_s + 1)
    expire(bench.submit, request_id)
    expire(bench.submit, request_id)
    assert [kind for kind, _, _ in sent(bench)] == [TransactionKind.EXPIRE]
    assert bench.state(request_id) is RequestState.PENDING  # only the chain says expired


def test_sweep_wakes_what_is_due_once(bench: Bench) -> None:
    """P1: wipe the queue and the sweeper brings it back."""
    pending, done = bench.ask(1), executed(bench, 2)
    bench.queue.woken.clear()
    assert sweep(bench.sweep) == 1  # the receipt is due at once
    bench.clock[0] += 5_000
    sweep(bench.sweep)
    assert set(bench.queue.woken) == {("execute", pending), ("submit", done)}
    before = len(bench.queue.woken)
    sweep(bench.sweep)
    assert len(bench.queue.woken) == before


def test_sweep_expiring_switched_off_pays_for_nobody(bench: Bench) -> None:
    bench.ask(deadline_s=START.timestamp_s + 100)
    bench.clock[0] += 10_000
    bench.advance(timestamp_s=START.timestamp_s + 103)
    assert sweep(replace(bench.sweep, expires_overdue=False)) == 0
    assert sweep(bench.sweep) == 1


def test_sweep_expires_what_is_overdue_by_the_chains_clock(bench: Bench) -> None:
    """P6."""
    request_id = bench.ask(deadline_s=START.timestamp_s + 100)
    bench.clock[0] += 10_000
    bench.advance(timestamp_s=START.timestamp_s + 103)
    bench.queue.woken.clear()
    sweep(bench.sweep)
    assert bench.queue.woken == [("expire", request_id)]


class FakeEnclaveRegistry:
    def __init__(self) -> None:
        self.live: dict[Address, int] = {}

    def anchor(self) -> BlockRef:
        return START

    def live_until(self, signer: Address) -> int:
        return self.live.get(signer, 0)


def test_registration_from_attested_to_live_to_renewed(bench: Bench) -> None:
    registry, woken = FakeEnclaveRegistry(), []  # type: ignore[var-annotated]
    dependencies = RegisterDependencies(
        bench.store.enclaves,
        registry,
        bench.queue,
        31337,
        Address(b"\x08" * 20),
        Address(RELAY.address),
        bench.now_ms,
        woken.append,
    )
    signer = Address(bench.enclave.key.address)
    assert ensure_registered(dependencies, bench.enclave) is EnclaveState.ATTESTED
    assert bench.queue.woken == [("register", signer)]
    submit_registration(bench.submit, signer)
    submit_registration(bench.submit, signer)
    assert [kind for kind, _, _ in sent(bench)] == [TransactionKind.REGISTER]
    assert ensure_registered(dependencies, bench.enclave) is EnclaveState.SUBMITTED
    registry.live[signer] = bench.clock[0] // 1_000 + 86_400
    assert ensure_registered(dependencies, bench.enclave) is EnclaveState.LIVE
    assert woken == [signer]
    bench.clock[0] += 1_000 * (86_400 - 1_800)
    assert ensure_registered(dependencies, bench.enclave) is EnclaveState.ATTESTED


def test_registration_that_the_registry_refuses_is_tried_again_later(bench: Bench) -> None:
    registry = FakeEnclaveRegistry()
    dependencies = RegisterDependencies(
        bench.store.enclaves,
        registry,
        bench.queue,
        31337,
        Address(b"\x08" * 20),
        Address(RELAY.address),
        bench.now_ms,
        lambda _: None,
    )
    signer = Address(bench.enclave.key.address)
    ensure_registered(dependencies, bench.enclave)
    bench.node.reverts = RevertedError("MeasurementNotApproved", (b"\x01" * 32,))
    submit_registration(bench.submit, signer)
    assert ensure_registered(dependencies, bench.enclave) is EnclaveState.DEAD
    bench.clock[0] += 30_000
    assert ensure_registered(dependencies, bench.enclave) is EnclaveState.ATTESTED
