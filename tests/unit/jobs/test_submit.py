"""EXECUTED -> SUBMITTED, alone or in batches; expiry; what the sweeper finds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from oracle import metrics
from oracle.chain.contracts import abi
from oracle.chain.errors import RevertedError
from oracle.crypto.ecdsa import recover
from oracle.enclave.protocol import BatchSignature, SignedReceipt
from oracle.errors import EnclaveError, RetryableError
from oracle.jobs.execute import work
from oracle.jobs.profit import Offer, paying
from oracle.jobs.sharing import rank, turn_ms
from oracle.jobs.submit import GIVEN_UP, expire, submit, submit_waiting
from oracle.jobs.sweep import sweep
from oracle.store.rows import EnclaveState, RequestState, StoredEnclave
from oracle.store.schema import receipts
from oracle.types.ids import Address, PoolId, RequestId
from oracle.types.pool import Pool
from oracle.types.receipt import batch_digest
from oracle.types.transaction import TransactionKind
from tests.fakes import MEASUREMENT, FakeEnclave
from tests.unit.jobs.conftest import RELAY, START, Bench


def executed(bench: Bench, number: int = 0, **changes: object) -> RequestId:
    request_id = bench.ask(number, **changes)
    work(bench.execute)
    return request_id


def sent(bench: Bench) -> list[tuple[TransactionKind, int, bytes]]:
    """Kind, number of subjects, and function selector of what is in the journal."""
    found = bench.store.journal.sent(Address(RELAY.address))
    return [(s.newest.kind, len(s.newest.subjects), s.newest.data[:4]) for s in found]


POOL = Pool(Address(b"\x0b" * 20), 100_000, 0, 0)  # 10^14 wei per request
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


def test_submit_waiting_sends_what_any_enclave_signed(bench: Bench) -> None:
    """P19: so that one message stands for all receipts that are stored before it is answered."""
    first = [executed(bench, number) for number in range(3)]
    there, bench.enclave = bench.enclave, FakeEnclave()
    second = [executed(bench, number) for number in range(3, 5)]
    both = {enclave.key.address: enclave for enclave in (there, bench.enclave)}
    dependencies = replace(bench.submit, signing_enclave=lambda signer: both[signer])
    assert submit_waiting(dependencies) is None
    assert sorted(count for _, count, _ in sent(bench)) == [2, 3]
    assert {bench.state(request_id) for request_id in (*first, *second)} == {RequestState.SUBMITTED}
    assert submit_waiting(dependencies) is None
    assert len(sent(bench)) == 2


def test_submit_waiting_leaves_what_waits_for_its_enclave_or_its_time(bench: Bench) -> None:
    later = executed(bench, 0)
    bench.store.outbox.postpone(later, bench.now_ms() + 1_000)
    assert submit_waiting(bench.submit) is None
    assert sent(bench) == []
    bench.clock[0] += 1_000
    submit_waiting(bench.submit)
    assert bench.state(later) is RequestState.SUBMITTED


def test_submit_when_time_is_up_names_what_to_go_on_with_and_holds_nothing(bench: Bench) -> None:
    ids = {executed(bench, number) for number in range(3)}
    hurried = replace(bench.submit, work_s=-1.0)
    left = submit(hurried, min(ids))
    assert left in ids
    assert submit_waiting(hurried) in ids
    assert bench.store.outbox.waiting("another", bench.now_ms()) is not None
    assert submit(bench.submit, left) is None
    assert {bench.state(request_id) for request_id in ids} == {RequestState.SUBMITTED}


def test_submit_under_load_lets_receipts_gather(bench: Bench) -> None:
    first, second = executed(bench, 0), executed(bench, 1)
    dependencies = replace(bench.submit, gather_s=0.05, max_batch=1)
    started = time.monotonic()
    submit(dependencies, first)
    submit(dependencies, second)
    assert time.monotonic() - started >= 0.05
    assert len(sent(bench)) == 2


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
    assert [count for _, count, _ in sent(bench)] == [3, 2]


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
    ids = [executed(bench, number) for number in range(3)]
    submit(bench.submit, ids[0])
    assert sent(bench) == [(TransactionKind.FULFILL, 1, FULFILL)] * 3


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


# -- poison, profit, turns ---------------------------------------------------------------------------------------------


def corrupted(bench: Bench, request_id: RequestId) -> None:
    """A signature that the enclave would not recognise, as if a disk had changed it."""
    with bench.store.database.write() as connection:
        connection.execute(update(receipts).where(receipts.c.request_id == request_id).values(signature=b"\x01" * 64))


@pytest.mark.parametrize("poisoned", [[0], [3], [6], [1, 5], [0, 1, 2, 3, 4, 5]])
def test_submit_poisoned_receipt_is_put_aside_and_the_others_settle(bench: Bench, poisoned: list[int]) -> None:
    """P14."""
    ids = [executed(bench, number) for number in range(7)]
    for position in poisoned:
        corrupted(bench, ids[position])
    bench.node.refuses = lambda data: RevertedError("ProofInvalid") if b"\x01" * 64 in data else None
    for _ in range(2):
        for request_id in ids:
            submit(bench.submit, request_id)
    ((_, count, _),) = sent(bench)
    assert count == 7 - len(poisoned)
    for position, request_id in enumerate(ids):
        expected = RequestState.EXECUTED if position in poisoned else RequestState.SUBMITTED
        assert bench.state(request_id) is expected
        assert (bench.get(request_id).reason is not None) == (position in poisoned)


def test_submit_enclave_that_is_not_registered_yet_is_asked_about_once(bench: Bench) -> None:
    ids = [executed(bench, number) for number in range(8)]
    bench.node.reverts = RevertedError("SignerUnknown", (b"\x01" * 20,))
    submit(bench.submit, ids[0])
    assert bench.node.simulations == 1
    bench.node.reverts = None
    submit(bench.submit, ids[4])
    assert [count for _, count, _ in sent(bench)] == [8]


def test_submit_backlog_of_an_enclave_that_is_not_registered_is_asked_about_once_per_call(bench: Bench) -> None:
    """However often each failed before: a flood of calls about them would keep the registration itself waiting."""
    ids = [executed(bench, number) for number in range(8)]
    bench.node.reverts = RevertedError("SignerUnknown", (b"\x01" * 20,))
    for _ in range(2):
        for request_id in ids:
            submit(bench.submit, request_id)
    assert bench.node.simulations == 16


def test_submit_past_the_deadline_nothing_is_asked(bench: Bench) -> None:
    late, good = executed(bench, 0, deadline_s=START.timestamp_s + 100), executed(bench, 1)
    bench.advance(timestamp_s=START.timestamp_s + 101)
    submit(bench.submit, late)
    assert bench.node.simulations == 0
    submit(bench.submit, good)
    assert bench.state(late) is RequestState.EXECUTED
    assert [count for _, count, _ in sent(bench)] == [1]


def test_submit_registration_that_the_chain_lost_the_request_is_executed_again(bench: Bench) -> None:
    """P1: a reorganisation took it, and the enclave that could make another has ended."""
    request_id, signer = executed(bench), Address(bench.enclave.key.address)
    operator, now_ms = Address(RELAY.address), bench.now_ms()
    known = StoredEnclave(signer, b"\x05" * 32, MEASUREMENT, operator, EnclaveState.LIVE, b"quote", 10, 2**40, now_ms)
    bench.store.enclaves.record_quote(known)
    bench.node.reverts = RevertedError("SignerUnknown", (signer,))
    sweep(bench.sweep)
    assert bench.state(request_id) is RequestState.EXECUTED
    submit(bench.submit, request_id)
    bench.queue.woken.clear()
    sweep(bench.sweep)
    assert bench.state(request_id) is RequestState.PENDING
    assert ("execute", b"") in bench.queue.woken
    bench.enclave, bench.node.reverts = FakeEnclave(), None
    work(bench.execute)
    submit(bench.submit, request_id)
    assert bench.state(request_id) is RequestState.SUBMITTED


def test_submit_that_does_not_pay_waits_until_the_base_fee_falls(bench: Bench) -> None:
    """P15."""
    dependencies = replace(bench.submit, minimum_profit_wei=0)
    request_id = executed(bench, pool_id=POOL.pool_id, max_fee_gwei=100_000, callback_gas=0)
    bench.node.base_fee_per_gas = 10 * 10**9
    submit(dependencies, request_id)
    assert sent(bench) == []
    assert "does not pay" in str(bench.get(request_id).reason)
    bench.node.base_fee_per_gas = 10**8
    submit(dependencies, request_id)
    assert len(sent(bench)) == 1


def test_submit_that_never_pays_is_given_up_near_its_deadline_and_counted(bench: Bench) -> None:
    """P15."""
    dependencies = replace(bench.submit, minimum_profit_wei=0)
    deadline_s = bench.clock[0] // 1_000 + 100
    request_id = executed(bench, pool_id=POOL.pool_id, max_fee_gwei=100_000, callback_gas=0, deadline_s=deadline_s)
    bench.node.base_fee_per_gas = 10 * 10**9
    before = metrics.value("receipts_given_up", reason="unprofitable")
    while bench.clock[0] < deadline_s * 1_000:
        for due in bench.store.requests.take_due(bench.clock[0], 5_000, 10):
            submit(dependencies, due)
        bench.clock[0] += 500
    assert str(bench.get(request_id).reason).startswith(GIVEN_UP)
    assert metrics.value("receipts_given_up", reason="unprofitable") == before + 1
    assert bench.get(request_id).attempts < 15
    assert sent(bench) == []


def test_submit_profit_is_not_looked_at_unless_asked_for(bench: Bench) -> None:
    request_id = executed(bench, pool_id=POOL.pool_id, max_fee_gwei=100_000, callback_gas=0)
    bench.node.base_fee_per_gas = 10 * 10**9
    submit(bench.submit, request_id)
    assert len(sent(bench)) == 1


def test_submit_waits_for_its_turn_and_then_asks_the_chain(bench: Bench) -> None:
    """P16."""
    peers = (Address(b"\x01" * 20), Address(b"\x02" * 20))
    asked: list[int] = []

    def open_among(_pool: PoolId, ids: Sequence[RequestId]) -> set[RequestId]:
        asked.append(len(ids))
        return set(ids[1:])

    dependencies = replace(bench.submit, peers=peers, backoff_ms=10_000, open_among=open_among)
    ids = [executed(bench, number) for number in range(30)]
    ranks = {request_id: rank(request_id, Address(RELAY.address), peers) for request_id in ids}
    assert set(ranks.values()) == {0, 1, 2}
    for turn in range(3):
        for request_id in ids:
            submit(dependencies, request_id)
        going = {r for r in ids if bench.state(r) is RequestState.SUBMITTED}
        assert going <= {r for r in ids if ranks[r] <= turn}
        assert len(going) >= sum(1 for r in ids if ranks[r] <= turn) - 2 * (turn + 1)
        bench.clock[0] += 10_000
    assert asked


@given(
    offers=st.lists(st.builds(Offer, st.integers(0, 10**16), st.integers(20_000, 10**6)), min_size=1, max_size=20),
    price_wei=st.integers(0, 10**12),
    minimum_wei=st.integers(0, 10**14),
)
def test_paying_nothing_is_sent_at_a_loss_and_nothing_that_pays_alone_waits(
    offers: list[Offer], price_wei: int, minimum_wei: int
) -> None:
    """P15."""
    shared = 34_000
    chosen = [offer for offer, pays in zip(offers, paying(offers, price_wei, shared, minimum_wei), strict=True) if pays]
    if chosen:
        earned_wei = sum(offer.fee_wei for offer in chosen)
        spent_wei = price_wei * (shared + sum(offer.gas for offer in chosen))
        assert earned_wei - spent_wei >= minimum_wei * len(chosen)
    for offer in offers:
        if offer.profit_wei(price_wei) >= minimum_wei + shared * price_wei:
            assert offer in chosen


ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)


@given(
    request_id=st.binary(min_size=32, max_size=32).map(RequestId),
    operators=st.sets(ADDRESSES, min_size=1, max_size=8),
    backoff_ms=st.integers(0, 60_000),
    left_ms=st.integers(-1_000, 600_000),
)
def test_turns_every_operator_has_another_and_all_are_before_the_deadline(
    request_id: RequestId, operators: set[Address], backoff_ms: int, left_ms: int
) -> None:
    """P16."""
    ranks = sorted(rank(request_id, operator, operators) for operator in operators)
    assert ranks == list(range(len(operators)))
    seen_ms = 1_000_000
    turns = [turn_ms(request_id, o, operators, backoff_ms, seen_ms, seen_ms + left_ms) for o in operators]
    assert min(turns) == seen_ms
    assert max(turns) <= seen_ms + max(0, left_ms)


def test_expire_is_sent_once(bench: Bench) -> None:
    request_id = bench.ask(deadline_s=START.timestamp_s + 1)
    expire(bench.submit, request_id)
    expire(bench.submit, request_id)
    assert [kind for kind, _, _ in sent(bench)] == [TransactionKind.EXPIRE]
    assert bench.state(request_id) is RequestState.PENDING  # only the chain says expired


def test_sweep_wakes_what_is_due_once(bench: Bench) -> None:
    """P1: wipe the queue and the sweeper brings it back."""
    done = executed(bench, 2)
    bench.ask(1)
    bench.queue.woken.clear()
    assert sweep(bench.sweep) == 1  # the receipt is due at once
    bench.clock[0] += 5_000
    sweep(bench.sweep)
    assert set(bench.queue.woken) == {("execute", b""), ("submit", done)}
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


def test_sweep_expires_a_few_at_a_time_and_the_others_next(bench: Bench) -> None:
    """Receipts must not wait behind hundreds of refunds, nor refunds for their next turn."""
    ids = [bench.ask(number, deadline_s=START.timestamp_s + 100) for number in range(20)]
    bench.clock[0] += 10_000
    bench.advance(timestamp_s=START.timestamp_s + 103)
    bench.queue.woken.clear()
    sweep(bench.sweep)
    assert len(bench.queue.woken) == 16
    sweep(bench.sweep)
    assert sorted(bench.queue.woken) == sorted(("expire", request_id) for request_id in ids)
