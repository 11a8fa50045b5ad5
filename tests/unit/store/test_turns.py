"""Whose request is next, on both databases: fair between consumers, near deadlines first, one taker each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.crypto.hashing import keccak256
from oracle.store.chain_log import REFUSED
from oracle.store.consumers import Served
from oracle.store.requests import TOO_LATE
from oracle.store.rows import RequestState, StoredReceipt
from oracle.store.store import Store
from oracle.store.turns import JUMP_US, Candidate, Taken, fair_order
from oracle.types.block import BlockRef, Created, Event
from oracle.types.ids import Address, RequestId
from oracle.types.receipt import Outcome, Receipt
from tests.fakes import a_request
from tests.unit.store.conftest import START

NOW_MS = START.timestamp_s * 1_000 + 100_000
NOW_S = NOW_MS // 1_000
HOLD_MS = 60_000
FLOOD, QUIET = Address(b"\xf1" * 20), Address(b"\x91" * 20)


def read(store: Store, *events: Event) -> list[RequestId]:
    """One more block, with these events."""
    cursor = store.chain.cursor()
    number = cursor.number + 1
    block = BlockRef(number, keccak256(b"%d" % number), START.timestamp_s + number)
    return store.chain.advance(cursor, block, events, NOW_MS, NOW_MS + 5_000)


def asked(number: int, consumer: Address, deadline_s: int = NOW_S + 10_000) -> Created:
    request = a_request(number, consumer=consumer, deadline_s=deadline_s)
    return Created(request, b"input %d" % number, 11, b"\x99" * 32)


def take(store: Store, limit: int = 1, now_ms: int = NOW_MS, worker: str = "w", **options: int) -> list[Taken]:
    return store.turns.take(worker, limit, now_ms, HOLD_MS, **options)


def finish(store: Store, taken: Taken, spent_us: int) -> bool:
    made = Receipt(taken.request_id, Outcome.COMPLETED, keccak256(b""), 7, QUIET)
    served = Served(taken.stored.request.consumer, taken.charged_us, spent_us)
    return store.requests.record_receipt(StoredReceipt(made, b"", QUIET, b"\x01" * 64), NOW_MS, served)


def serve(store: Store, count: int, spent_us: int = 1_000) -> list[Address]:
    """Take and finish one after the other; whose they were."""
    order = []
    for _ in range(count):
        (taken,) = take(store)
        assert finish(store, taken, spent_us)
        order.append(taken.stored.request.consumer)
    return order


def test_take_gives_the_request_with_its_input_and_holds_it(store: Store) -> None:
    (request_id,) = read(store, asked(1, QUIET))
    (taken,) = take(store)
    assert (taken.request_id, taken.input, taken.stored.request.consumer) == (request_id, b"input 1", QUIET)
    assert take(store) == []
    assert take(store, now_ms=NOW_MS + HOLD_MS - 1) == []
    assert [again.request_id for again in take(store, now_ms=NOW_MS + HOLD_MS)] == [request_id]


def test_take_flood_of_one_consumer_does_not_delay_another(store: Store) -> None:
    """P18."""
    read(store, *[asked(number, FLOOD) for number in range(200)])
    serve(store, 5)
    read(store, asked(1_000, QUIET), asked(1_001, QUIET))
    assert serve(store, 4).count(QUIET) == 2


def test_take_consumers_get_equal_time_not_equal_numbers(store: Store) -> None:
    """P18: one whose jobs take ten times as long gets a tenth of the turns."""
    read(store, *[asked(number, FLOOD) for number in range(60)], *[asked(100 + n, QUIET) for n in range(60)])
    spent = {FLOOD: 0, QUIET: 0}
    for _ in range(60):
        (taken,) = take(store)
        consumer = taken.stored.request.consumer
        cost_us = 10_000 if consumer == FLOOD else 1_000
        finish(store, taken, cost_us)
        spent[consumer] += cost_us
    assert abs(spent[FLOOD] - spent[QUIET]) <= 20_000


def test_take_consumer_that_was_away_saved_up_no_time(store: Store) -> None:
    """P18."""
    read(store, asked(0, QUIET))
    serve(store, 1)
    read(store, *[asked(100 + number, FLOOD) for number in range(100)])
    serve(store, 50, spent_us=100_000)
    read(store, *[asked(300 + number, QUIET) for number in range(50)])
    order = serve(store, 20, spent_us=100_000)
    assert 8 <= order.count(FLOOD) <= 12


def test_take_nearest_deadline_of_a_consumer_is_first(store: Store) -> None:
    deadlines = [NOW_S + 500, NOW_S + 100, NOW_S + 300]
    read(store, *[asked(number, QUIET, deadline) for number, deadline in enumerate(deadlines)])
    found = [taken.stored.request.deadline_s for taken in take(store, 3)]
    assert found == sorted(deadlines)


def test_take_urgent_request_goes_before_a_consumer_with_less_time(store: Store) -> None:
    read(store, *[asked(number, FLOOD) for number in range(3)])
    serve(store, 2)
    read(store, asked(10, QUIET), asked(11, FLOOD, NOW_S + 12))
    assert [taken.stored.request.nonce for taken in take(store, 1, urgent_s=15)] == [11]
    assert [taken.stored.request.consumer for taken in take(store, 1, urgent_s=15)] == [QUIET]


def test_take_request_too_near_its_deadline_is_not_taken(store: Store) -> None:
    read(store, asked(1, QUIET, NOW_S + 4), asked(2, QUIET, NOW_S + 5))
    assert [taken.stored.request.nonce for taken in take(store, 5, margin_s=5)] == [2]
    assert store.requests.fail_hopeless(NOW_S + 5, NOW_MS, 10) == 1
    stored = store.requests.get(a_request(1, consumer=QUIET, deadline_s=NOW_S + 4).request_id)
    assert stored is not None
    assert (stored.state, stored.reason) == (RequestState.FAILED, TOO_LATE)


def test_take_by_the_chains_clock_if_that_is_ahead(store: Store) -> None:
    read(store, asked(1, QUIET, START.timestamp_s + 20))
    assert len(take(store, now_ms=START.timestamp_s * 1_000, margin_s=8)) == 1
    read(store, asked(2, QUIET, START.timestamp_s + 20))
    assert take(store, now_ms=START.timestamp_s * 1_000, margin_s=9) == []


def test_take_several_at_once_are_one_of_each_consumer_in_turn(store: Store) -> None:
    read(store, *[asked(number, FLOOD) for number in range(10)], *[asked(20 + n, QUIET) for n in range(2)])
    order = [taken.stored.request.consumer for taken in take(store, 6)]
    assert {order[0], order[1]} == {order[2], order[3]} == {FLOOD, QUIET}


@pytest.mark.parametrize("count", [40, 70])
def test_take_more_consumers_than_are_looked_at_are_all_served(store: Store, count: int) -> None:
    consumers = {Address(keccak256(b"%d" % number)[:20]) for number in range(count)}
    read(store, *[asked(number, consumer) for number, consumer in enumerate(sorted(consumers))])
    served: set[Address] = set()
    while taken := take(store, 16):
        served |= {item.stored.request.consumer for item in taken}
    assert served == consumers


def test_give_back_with_a_reason_pauses_and_without_one_does_not(store: Store) -> None:
    first, second = read(store, asked(1, QUIET), asked(2, FLOOD))
    taken = {item.request_id: item for item in take(store, 2)}
    store.turns.give_back([taken[first]], "w", NOW_MS, reason="away")
    store.turns.give_back([taken[second]], "w", NOW_MS)
    assert [item.request_id for item in take(store, 2)] == [second]
    (again,) = take(store, 2, now_ms=NOW_MS + 1_000)
    assert (again.request_id, again.stored.attempts, again.stored.reason) == (first, 1, "away")


def test_give_back_of_another_worker_changes_nothing(store: Store) -> None:
    read(store, asked(1, QUIET))
    taken = take(store)
    store.turns.give_back(taken, "another", NOW_MS)
    assert take(store) == []


def test_extend_holds_on_to_ones_own_for_longer(store: Store) -> None:
    """P17."""
    ids = read(store, asked(1, QUIET), asked(2, FLOOD))
    (mine,) = take(store, 1, worker="mine")
    take(store, 1, worker="theirs")
    store.turns.extend("mine", ids, NOW_MS + 2 * HOLD_MS)
    free = take(store, 2, now_ms=NOW_MS + HOLD_MS)
    assert [item.request_id for item in free] == [request_id for request_id in ids if request_id != mine.request_id]
    assert len(take(store, 2, now_ms=NOW_MS + 2 * HOLD_MS)) == 2


def test_release_frees_what_one_worker_held(store: Store) -> None:
    read(store, asked(1, QUIET), asked(2, FLOOD))
    (mine,) = take(store, 1, worker="mine")
    take(store, 1, worker="theirs")
    assert store.turns.release("mine") == 1
    assert [item.request_id for item in take(store, 2)] == [mine.request_id]


def test_take_request_that_failed_is_taken_again_when_the_sweeper_says_so(store: Store) -> None:
    read(store, asked(1, QUIET))
    (taken,) = take(store)
    assert store.requests.fail(taken.request_id, "no such program", Served(QUIET, taken.charged_us, 5))
    assert take(store) == []
    store.requests.take_due(NOW_MS + 60_000, 1_000, 10)
    assert len(take(store, now_ms=NOW_MS + 60_000)) == 1


def test_take_orphaned_request_is_not_taken_until_it_is_seen_again(store: Store) -> None:
    """P5."""
    (request_id,) = read(store, asked(1, QUIET))
    store.chain.rewind(store.chain.cursor(), START)
    assert take(store) == []
    assert read(store, asked(1, QUIET)) == [request_id]
    assert len(take(store)) == 1


def test_advance_over_a_consumers_share_is_kept_back_until_there_is_room(store: Store) -> None:
    store.chain.max_pending_per_consumer = 3
    new = read(store, *[asked(number, FLOOD) for number in range(5)], asked(10, QUIET))
    assert len(new) == 4
    assert store.requests.counts()[RequestState.FAILED] == 2
    refused = [row for row in store.requests.latest(10) if row.state is RequestState.FAILED]
    assert {row.reason for row in refused} == {REFUSED}
    later = NOW_MS + 10_000
    due = store.requests.take_due(later, 1_000, 10, max_pending_per_consumer=3)
    assert store.requests.counts()[RequestState.FAILED] == 2
    assert not {row.request_id for row in refused} & due.keys()
    for taken in take(store, 2):
        finish(store, taken, 1)
    store.requests.take_due(later + 10_000, 1_000, 10, max_pending_per_consumer=3)
    assert store.requests.counts()[RequestState.FAILED] < 2


def test_take_raced_by_many_workers_gives_each_request_to_one(store: Store) -> None:
    """P17: workers may race, one wins."""
    ids = read(store, *[asked(n, Address(bytes([n % 7 + 1]) * 20)) for n in range(90)])

    def drain(number: int) -> list[RequestId]:
        got: list[RequestId] = []
        while taken := take(store, 4, worker=f"worker {number}"):
            got += [item.request_id for item in taken]
        return got

    with ThreadPoolExecutor(4) as threads:
        got = [request_id for found in threads.map(drain, range(4)) for request_id in found]
    assert sorted(got) == sorted(ids)


def test_take_raced_by_the_watcher_overlooks_nothing(store: Store) -> None:
    """P19: a consumer is put to rest while its next request is stored: it must be found nevertheless."""
    total = 120

    def ask() -> None:
        for number in range(total):
            read(store, asked(number, QUIET if number % 2 else FLOOD))

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(ask)
        got: set[RequestId] = set()
        while not asking.done():
            got |= {item.request_id for item in take(store, 3)}
        asking.result()
    while taken := take(store, 3):
        got |= {item.request_id for item in taken}
    assert len(got) == total


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        consumer=st.binary(min_size=20, max_size=20),
        served_us=st.integers(0, 5 * JUMP_US),
        cost_us=st.integers(1, JUMP_US),
        deadline_s=st.integers(0, 100),
    ),
    min_size=1,
    unique_by=lambda candidate: candidate.consumer,
)


@given(candidates=CANDIDATES, urgent_until_s=st.integers(0, 100))
def test_fair_order_puts_urgent_ones_first_but_nobody_far_ahead(
    candidates: Sequence[Candidate], urgent_until_s: int
) -> None:
    """P18."""
    order = fair_order(candidates, urgent_until_s)
    least_us = min(candidate.served_us for candidate in candidates)
    assert sorted(order, key=lambda c: c.consumer) == sorted(candidates, key=lambda c: c.consumer)
    assert order[0].served_us <= least_us + JUMP_US
    if order[0].deadline_s > urgent_until_s:
        assert order[0].served_us == least_us
    calm = [candidate for candidate in order if candidate.deadline_s > urgent_until_s]
    assert [candidate.served_us for candidate in calm] == sorted(candidate.served_us for candidate in calm)
