"""Requests that wait until their block is final enough (N8), on both databases."""

from __future__ import annotations

import pytest

from oracle.store import chain_log
from oracle.store.chain_log import REFUSED
from oracle.store.errors import CursorMovedError
from oracle.store.rows import RequestState
from oracle.store.store import Store
from oracle.types.block import BlockRef, Created
from oracle.types.finality import FINALIZED, SAFE, Finality, FinalityPolicy, Heights
from oracle.types.ids import RequestId
from tests.fakes import a_request
from tests.unit.store.conftest import START
from tests.unit.store.test_requests import block, created, receipt, settled, state

WORKER = "worker"


def waiting(store: Store, choice: str, count: int = 1) -> list[RequestId]:
    """This many requests in block 11, for which `choice` was made."""
    store.chain.finality = FinalityPolicy.parse(choice, ())
    assert store.chain.advance(START, block(11), [created(number) for number in range(count)], 1_000, 6_000) == []
    return [a_request(number).request_id for number in range(count)]


def takeable(store: Store) -> list[RequestId]:
    return [taken.request_id for taken in store.turns.take(WORKER, 10, 2_000, 60_000)]


@pytest.mark.parametrize(
    ("choice", "too_early", "enough"),
    [
        ("2", Heights(12), Heights(13)),
        ("safe", Heights(100, safe=10, finalized=10), Heights(100, safe=11)),
        ("finalized", Heights(100, safe=50, finalized=10), Heights(100, safe=None, finalized=11)),
        ("safe", Heights(100, finalized=100), Heights(100, safe=100, finalized=0)),
    ],
)
def test_release_as_soon_as_final_enough(store: Store, choice: str, too_early: Heights, enough: Heights) -> None:
    (request_id,) = waiting(store, choice)
    assert state(store, request_id) is RequestState.SEEN
    assert store.chain.awaited() == {Finality.parse(choice)}
    assert store.chain.release(block(11), too_early, 6_000) == []
    assert takeable(store) == []
    assert store.chain.release(block(11), enough, 6_000) == [request_id]
    assert takeable(store) == [request_id]
    assert store.chain.release(block(11), enough, 6_000) == []
    assert store.chain.awaited() == set()


def test_release_only_what_was_chosen(store: Store) -> None:
    careful = a_request(7, consumer=b"\xcc" * 20)
    store.chain.finality = FinalityPolicy.parse("1", ["0x" + "cc" * 20 + "=finalized"])
    store.chain.advance(START, block(11), [created(1), Created(careful, b"input", 11, b"\x99" * 32)], 1_000, 6_000)
    assert store.chain.awaited() == {Finality(1), FINALIZED}
    assert store.chain.release(block(11), Heights(12), 6_000) == [a_request(1).request_id]
    stored = store.requests.get(careful.request_id)
    assert stored is not None
    assert (stored.state, stored.finality) == (RequestState.SEEN, FINALIZED)


def test_release_is_in_the_order_of_blocks(store: Store) -> None:
    waiting(store, "safe", 2)
    store.chain.advance(block(11), block(12), [created(5, at=12)], 1_000, 6_000)
    released = store.chain.release(block(12), Heights(50, safe=12), 6_000)
    assert released == [a_request(number).request_id for number in (0, 1, 5)]


def test_release_many_are_released_some_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_log, "RELEASED", 2)
    ids, found = waiting(store, "1", 5), []
    while some := store.chain.release(block(11), Heights(100), 6_000):
        assert len(some) <= 2
        found += some
    assert found == ids


def test_release_from_a_moved_cursor_writes_nothing(store: Store) -> None:
    """P4."""
    (request_id,) = waiting(store, "1")
    with pytest.raises(CursorMovedError):
        store.chain.release(START, Heights(100), 6_000)
    assert state(store, request_id) is RequestState.SEEN


def test_release_over_the_consumers_share_waits_for_room(store: Store) -> None:
    waiting(store, "1", 3)
    store.chain.max_pending_per_consumer = 2
    assert len(store.chain.release(block(11), Heights(100), 6_000)) == 2
    refused = store.requests.get(a_request(2).request_id)
    assert refused is not None
    assert (refused.state, refused.reason) == (RequestState.FAILED, REFUSED)


def test_waiting_request_is_neither_swept_nor_taken(store: Store) -> None:
    (request_id,) = waiting(store, "1")
    assert store.requests.take_due(10**9, 1_000, 10) == {}
    assert takeable(store) == []
    assert not store.requests.record_receipt(receipt(request_id), 2_000)


def test_waiting_request_that_is_overdue_can_be_expired(store: Store) -> None:
    (request_id,) = waiting(store, "finalized")
    late_s = a_request(0).deadline_s + 1
    assert store.requests.take_expirable(late_s, late_s * 1_000, 1_000, 10) == [request_id]


def test_waiting_request_that_somebody_else_settles_waits_again_if_that_is_undone(store: Store) -> None:
    """P5."""
    (request_id,) = waiting(store, "safe")
    store.chain.advance(block(11), block(12), [settled(request_id, 12)], 1_000, 6_000)
    assert state(store, request_id) is RequestState.SETTLED
    store.chain.rewind(block(12), block(11))
    assert state(store, request_id) is RequestState.SEEN
    assert store.chain.awaited() == {SAFE}


@pytest.mark.parametrize("has_receipt", [False, True])
def test_request_in_another_block_waits_again_unless_it_has_a_receipt(store: Store, has_receipt: bool) -> None:
    (request_id,) = waiting(store, "1")
    assert store.chain.release(block(11), Heights(12), 6_000) == [request_id]
    if has_receipt:
        assert store.requests.record_receipt(receipt(request_id), 2_000)
    store.chain.rewind(block(11), START)
    assert store.chain.release(START, Heights(100), 6_000) == []  # it is in no block now
    moved = BlockRef(11, b"\x77" * 32, 1_700_000_011)
    store.chain.finality = FinalityPolicy()  # the choice is kept
    assert store.chain.advance(START, moved, [created(0)], 1_000, 6_000) == []
    assert state(store, request_id) is (RequestState.EXECUTED if has_receipt else RequestState.SEEN)
