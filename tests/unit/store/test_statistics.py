"""The numbers behind `status` and `/metrics`, exact whatever the sums."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.status import document, families
from oracle.store.rows import RequestState
from oracle.store.statistics import InFlight, Waiting
from oracle.store.store import Store
from oracle.types.block import Created, Expired
from oracle.types.ids import Address
from oracle.types.receipt import Outcome
from oracle.types.transaction import TransactionKind
from tests.fakes import a_request
from tests.unit.store.conftest import START
from tests.unit.store.test_requests import RELAY, block, opened, receipt, settled, submitted, transaction

NOW_MS = START.timestamp_s * 1_000
OTHER = Address(b"\x78" * 20)


def test_backlog_of_a_new_store_is_empty(store: Store) -> None:
    backlog = store.statistics.backlog(NOW_MS)
    assert set(backlog.waiting.values()) == {Waiting(0, None, 0)}
    assert (backlog.held, backlog.consumers, backlog.overdue, backlog.in_flight) == (0, 0, 0, {})


def test_backlog_counts_ages_and_holders(store: Store) -> None:
    ids = opened(store, 4)
    store.requests.note(ids[0], "away")
    store.turns.take("w", 1, NOW_MS, 60_000)
    store.requests.record_receipt(receipt(ids[3]), 2_000)
    backlog = store.statistics.backlog(NOW_MS)
    assert backlog.waiting[RequestState.PENDING] == Waiting(3, 1_000, 1)
    assert backlog.waiting[RequestState.EXECUTED] == Waiting(1, 1_000, 0)
    assert (backlog.held, backlog.consumers, backlog.nearest_deadline_s) == (1, 1, a_request().deadline_s)
    assert (backlog.cursor_block, backlog.cursor_timestamp_s) == (11, block(11).timestamp_s)


def test_backlog_overdue_requests_are_counted_apart(store: Store) -> None:
    late = a_request(0, deadline_s=START.timestamp_s - 1)
    store.chain.advance(START, block(11), [Created(late, b"input", 11, b"\x99" * 32)], 1_000, 2_000)
    backlog = store.statistics.backlog(NOW_MS)
    assert (backlog.overdue, backlog.waiting[RequestState.PENDING].count) == (1, 0)


def test_backlog_transactions_in_flight_count_once_however_often_replaced(store: Store) -> None:
    request_id = submitted(store)
    store.journal.replace(transaction(0, request_id, kind=TransactionKind.FILL), 4_000)
    assert store.statistics.backlog(NOW_MS).in_flight == {RELAY: InFlight(1, 3_000)}
    store.journal.conclude(RELAY, 0, b"\x01" * 32, 12, succeeded=True)
    assert store.statistics.backlog(NOW_MS).in_flight == {}


def test_totals_outcomes_fees_and_gas(store: Store) -> None:
    ids = opened(store, 3)
    ends = [settled(ids[0], 12), replace(settled(ids[1], 12), outcome=Outcome.TRAPPED, payee=OTHER, fee_wei=5)]
    store.chain.advance(block(11), block(12), [*ends, Expired(ids[2], True, 12, b"\x97" * 32)], 2_000, 7_000)
    store.journal.next_nonce(RELAY, 0)
    for nonce, cost_wei in enumerate((10**21, 10**21 + 1)):
        store.journal.record(transaction(nonce, kind=TransactionKind.EXPIRE), 3_000)
        store.journal.conclude(RELAY, nonce, b"\x01" * 32, 12, succeeded=True, cost_wei=cost_wei)
    totals = store.statistics.totals()
    assert totals.outcomes == {Outcome.COMPLETED: 1, Outcome.TRAPPED: 1}
    assert totals.expired == 1
    assert totals.fees_wei == {RELAY: 10**20, OTHER: 5}
    assert totals.gas_wei == {TransactionKind.EXPIRE: 2 * 10**21 + 1}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fees=st.lists(st.integers(0, 2**90), min_size=1, max_size=8))
def test_totals_sums_of_any_size_are_exact(store: Store, fees: list[int]) -> None:
    cursor, before = store.chain.cursor(), store.statistics.totals().fees_wei.get(RELAY, 0)
    first = cursor.number * 100
    asked = [a_request(first + number) for number in range(len(fees))]
    ends = [
        replace(settled(request.request_id, cursor.number + 1), fee_wei=fee)
        for request, fee in zip(asked, fees, strict=True)
    ]
    made = [Created(request, b"", cursor.number + 1, b"\x99" * 32) for request in asked]
    store.chain.advance(cursor, block(cursor.number + 1), [*made, *ends], 0, 0)
    assert store.statistics.totals().fees_wei[RELAY] - before == sum(fees)


def test_document_and_families_say_the_same(store: Store) -> None:
    opened(store, 2)
    shown = document(store, NOW_MS, 1)
    assert shown["requests"] == {"pending": 2}
    assert shown["queue"]["pending"] == {"count": 2, "oldest_s": NOW_MS // 1_000 - 1, "retried": 0}
    assert len(shown["latest"]) == 1
    by_name = {name: samples for name, _, _, samples in families(store.statistics.backlog(NOW_MS), NOW_MS)}
    assert by_name["requests"]["pending",] == 2
    assert by_name["oldest_request_seconds"]["pending",] == NOW_MS // 1_000 - 1
    assert by_name["cursor_block"] == {(): 11}


def test_undelivered_receipts_are_counted_by_enclave_until_they_settle(store: Store) -> None:
    ids = opened(store, 3)
    assert store.statistics.undelivered() == {}
    for request_id in ids[:2]:
        store.requests.record_receipt(receipt(request_id), 2_000)
    signer = receipt(ids[0]).signer
    assert store.statistics.undelivered() == {signer: 2}
    store.chain.advance(block(11), block(12), [settled(ids[0], 12)], 1_000, 6_000)
    assert store.statistics.undelivered() == {signer: 1}
