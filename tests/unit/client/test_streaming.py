"""Streams against a chain that reorganises and fails: what was delivered and not undone is what happened."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.client.errors import CursorLostError
from oracle.client.streaming import Confirmed, Cursor, End, Filter, Stream, Undone
from oracle.errors import EncodingError, RetryableError
from oracle.types.block import Created, Event, Expired, Settled
from oracle.types.ids import Address, ProgramId
from oracle.types.receipt import Outcome
from tests.fakes import FakeChain, a_request

OURS = a_request().consumer
OTHERS = Address(b"\xee" * 20)


def created(number: int, consumer: Address = OURS) -> Callable[[int], Event]:
    return lambda block: Created(a_request(number, consumer=consumer), b"input", block, b"\x01" * 32)


def settled(number: int, consumer: Address = OURS) -> Callable[[int], Event]:
    request_id = a_request(number, consumer=consumer).request_id
    return lambda block: Settled(request_id, OTHERS, Outcome.COMPLETED, True, 1, 1, block, b"\x03" * 32)


def expired(number: int) -> Callable[[int], Event]:
    return lambda block: Expired(a_request(number).request_id, True, block, b"\x04" * 32)


def start_of(chain: FakeChain) -> Cursor:
    block = chain.blocks([0])[0]
    assert block is not None
    return Cursor(block)


def drain(stream: Stream) -> list[object]:
    items = []
    while (item := stream.step()) is not None and not isinstance(item, End):
        items.append(item)
    return items


def history(items: list[object], so_far: list[object] | None = None) -> list[object]:
    """What is left of `items` when each `Undone` has taken back the event before it."""
    left = [] if so_far is None else so_far
    for item in items:
        if isinstance(item, Undone):
            assert left.pop() == item.event
        else:
            left.append(item)
    return left


def test_step_events_of_a_block_come_in_order_and_once():
    chain = FakeChain()
    stream = Stream(chain, Filter(), start_of(chain))
    chain.mine(created(1), created(2))
    chain.mine(settled(1))
    assert drain(stream) == chain.canonical_events()
    assert stream.step() is None


def test_step_until_head_ends_there():
    chain = FakeChain()
    chain.mine(created(1))
    stream = Stream(chain, Filter(), start_of(chain), until_head=True)
    assert [type(stream.step()) for _ in range(3)] == [Created, End, End]


ACTIONS = st.lists(st.tuples(st.sampled_from(["mine", "reorganise", "read", "fail"]), st.integers(1, 6)), max_size=15)


@settings(max_examples=40)
@given(ACTIONS, st.integers(0, 3), st.booleans())
def test_step_through_reorganisations_leaves_the_canonical_events(actions, confirmations, is_filtered):
    chain, number, left = FakeChain(max_events=10), 0, []
    wanted = Filter(consumer=a_request().consumer) if is_filtered else Filter()
    stream = Stream(Confirmed(chain, confirmations, 0), wanted, start_of(chain))
    for action, count in actions:
        if action == "mine":
            for _ in range(count):
                number += 1
                chain.mine(created(number), created(number, OTHERS), settled(number, OTHERS), settled(number))
        elif action == "reorganise":
            chain.reorganise(count)
        elif action == "fail":
            chain.fails = count
        else:
            left = history(drain(stream), left)
    chain.fails = 0
    for _ in range(2):
        left = history(drain(stream), left)
    shown = chain.head().number - confirmations
    assert left == [
        event for event in chain.canonical_events() if event.block_number <= shown and is_ours(event, wanted)
    ]


def is_ours(event: Event, wanted: Filter) -> bool:
    if wanted.is_for_all:
        return True
    if isinstance(event, Created):
        return wanted.takes(event)
    return event.request_id in {a_request(number).request_id for number in range(1, 100)}


def test_step_of_one_consumer_gives_the_ends_of_its_requests_only():
    chain = FakeChain()
    chain.mine(created(1), created(2, OTHERS))
    chain.mine(settled(2, OTHERS), expired(1))
    ours = Stream(chain, Filter(consumer=a_request().consumer), start_of(chain))
    assert [type(item) for item in drain(ours)] == [Created, Expired]


def test_step_of_another_program_gives_nothing():
    chain = FakeChain()
    chain.mine(created(1), settled(1))
    assert drain(Stream(chain, Filter(program_id=ProgramId(bytes(32))), start_of(chain))) == []


def test_cursor_resumed_in_another_process_misses_nothing_and_repeats_what_was_not_asked_past():
    chain, wanted = FakeChain(), Filter(consumer=a_request().consumer)
    chain.mine(created(1))
    chain.mine(created(2))
    stream = Stream(chain, wanted, start_of(chain))
    first = [stream.step(), stream.step()]
    assert stream.cursor == start_of(chain)
    assert stream.step() is None
    kept = Cursor.parse(stream.cursor.json())
    chain.mine(settled(1), settled(2))
    resumed = Stream(chain, wanted, kept)
    assert [*first, *drain(resumed)] == chain.canonical_events()
    assert resumed.cursor.open == frozenset()


def test_step_from_a_cursor_of_another_history_says_that_it_is_lost(monkeypatch):
    chain = FakeChain()
    chain.mine(created(1))
    chain.mine()
    stream = Stream(chain, Filter(), start_of(chain))
    drain(stream)
    resumed = Stream(chain, Filter(), stream.cursor)
    chain.reorganise(2)
    chain.mine()
    assert resumed.step() is None
    monkeypatch.setattr(resumed._watcher, "now_ms", lambda: 10**15)
    with pytest.raises(CursorLostError):
        resumed.step()


def test_step_chain_that_stays_away_raises_after_a_minute(monkeypatch):
    chain, now_s = FakeChain(), [0.0]
    stream = Stream(chain, Filter(), start_of(chain))
    monkeypatch.setattr(stream._patience, "now_s", lambda: now_s[0])
    chain.fails = 3
    assert stream.step() is None
    now_s[0] = 59.0
    assert stream.step() is None
    now_s[0] = 61.0
    with pytest.raises(RetryableError):
        stream.step()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"block": {"number": 1}}', '{"block": 3, "open": []}'])
def test_cursor_of_something_else_is_refused(text):
    with pytest.raises(EncodingError):
        Cursor.parse(text)
