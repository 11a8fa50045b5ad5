"""The watcher against a chain that reorganises, fails and answers too much, with a real store behind it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.chain.errors import ChainMovedError
from oracle.chain.watcher import Watcher
from oracle.errors import ChainMismatchError, RetryableError
from oracle.store.rows import Identity, RequestState
from oracle.store.store import Store
from oracle.types.block import Created, Event, Expired, Settled
from oracle.types.ids import Address, RequestId
from oracle.types.receipt import Outcome
from tests.fakes import FakeChain, a_request


def created(number: int) -> Callable[[int], Event]:
    return lambda block: Created(a_request(number), b"input", block, b"\x01" * 32)


def settled(number: int) -> Callable[[int], Event]:
    request_id = a_request(number).request_id
    return lambda block: Settled(request_id, Address(b"\x02" * 20), Outcome.COMPLETED, True, 1, 1, block, b"\x03" * 32)


def expired(number: int) -> Callable[[int], Event]:
    return lambda block: Expired(a_request(number).request_id, True, block, b"\x04" * 32)


@contextmanager
def watching(chain: FakeChain, woken: list[RequestId], **options: int) -> Iterator[tuple[Watcher, Store]]:
    with (
        tempfile.TemporaryDirectory() as directory,
        Store.open(f"sqlite:///{Path(directory)}/pool.sqlite", create=True) as store,
    ):
        start = chain.blocks([0])[0]
        assert start is not None
        store.chain.adopt(Identity(31337, a_request().coprocessor, start))
        yield Watcher(chain, store.chain, woken.append, lambda: 1_000, **options), store


def catch_up(watcher: Watcher) -> None:
    while True:
        try:
            if watcher.step() == 0:
                return
        except RetryableError:
            continue


def test_step_new_request_is_stored_then_woken() -> None:
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    with watching(chain, woken) as (watcher, store):
        chain.mine(created(1))
        assert watcher.step() == 1
        assert watcher.step() == 0
        assert woken == [a_request(1).request_id]
        assert store.requests.counts()[RequestState.PENDING] == 1


def test_step_waits_for_confirmations() -> None:
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    with watching(chain, woken, confirmations=2) as (watcher, _):
        chain.mine(created(1))
        chain.mine()
        catch_up(watcher)
        assert woken == []
        chain.mine()
        catch_up(watcher)
        assert woken == [a_request(1).request_id]


def test_step_too_many_logs_halves_the_span() -> None:
    chain, woken = FakeChain(max_events=3), []  # type: ignore[var-annotated]
    for number in range(40):
        chain.mine(created(number))
    with watching(chain, woken, max_span_blocks=16) as (watcher, _):
        catch_up(watcher)
        assert woken == [a_request(number).request_id for number in range(40)]


def test_step_chain_that_fails_changes_nothing() -> None:
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    with watching(chain, woken) as (watcher, store):
        chain.mine(created(1))
        for failures in range(1, 4):
            chain.fails = failures
            for _ in range(failures):
                with pytest.raises(RetryableError):
                    watcher.step()
            assert store.chain.cursor().number == 0
        assert watcher.step() == 1


def test_step_reorganisation_while_reading_is_noticed() -> None:
    """P5: blocks at both ends are checked after the logs were read."""
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    with watching(chain, woken) as (watcher, store):
        chain.mine(created(1))
        chain.during_events = lambda: chain.reorganise(1, [created(2)])
        with pytest.raises(ChainMovedError):
            watcher.step()
        assert store.chain.cursor().number == 0
        catch_up(watcher)
        assert woken == [a_request(2).request_id]


def test_step_reorganisation_under_the_cursor_while_reading_rewinds() -> None:
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    with watching(chain, woken) as (watcher, store):
        chain.mine(created(1))
        catch_up(watcher)
        chain.mine()
        chain.during_events = lambda: chain.reorganise(2, [created(2)], [])
        assert watcher.step() < 0
        catch_up(watcher)
        assert woken == [a_request(1).request_id, a_request(2).request_id]
        orphan = store.requests.get(a_request(1).request_id)
        assert orphan is not None
        assert orphan.block_number is None


def test_step_chain_that_lost_the_start_block_says_so() -> None:
    chain, other = FakeChain(), FakeChain()
    with watching(chain, []) as (watcher, store):
        chain.mine()
        catch_up(watcher)
        other.mine()
        other.mine()
        lost = Watcher(other, store.chain, watcher.wake, watcher.now_ms)
        with pytest.raises(ChainMismatchError, match="restarted"):
            lost.step()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("mine"), st.integers(0, 6)),
        st.tuples(st.just("settle"), st.integers(0, 6)),
        st.tuples(st.just("expire"), st.integers(0, 6)),
        st.tuples(st.just("reorganise"), st.integers(1, 64)),
        st.tuples(st.just("reorganise while reading"), st.integers(1, 8)),
        st.tuples(st.just("fail"), st.integers(1, 3)),
        st.tuples(st.just("step"), st.integers(1, 3)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS, span=st.integers(1, 9))
def test_any_history_ends_with_the_store_saying_what_the_chain_says(actions: list[tuple[str, int]], span: int) -> None:
    """P4, P5: whatever happened on the way, after catching up every request stands where the chain says."""
    chain, woken = FakeChain(max_events=4), []  # type: ignore[var-annotated]
    with watching(chain, woken, max_span_blocks=span) as (watcher, store):
        for action, number in actions:
            _apply(chain, watcher, action, number)
        catch_up(watcher)
        made = {e.request.request_id: e for e in chain.canonical_events() if isinstance(e, Created)}
        ends: dict[RequestId, Event] = {}
        for event in chain.canonical_events():
            if not isinstance(event, Created) and event.request_id in made:
                ends.setdefault(event.request_id, event)
        for request_id in made:
            stored = store.requests.get(request_id)
            assert stored is not None
            assert stored.block_number is not None
            end = ends.get(request_id)
            expected = (
                RequestState.PENDING
                if end is None
                else RequestState.SETTLED
                if isinstance(end, Settled)
                else RequestState.EXPIRED
            )
            assert stored.state is expected
            if end is None:
                assert request_id in woken
        for number in range(7):
            stored = store.requests.get(a_request(number).request_id)
            assert stored is None or stored.block_number is None or stored.request_id in made


def _apply(chain: FakeChain, watcher: Watcher, action: str, number: int) -> None:
    happened = {
        type(e).__name__ + str(e.request.nonce if isinstance(e, Created) else e.request_id)
        for e in chain.canonical_events()
    }
    request_id = a_request(number).request_id
    exists = f"Created{number}" in happened
    ended = {f"Settled{request_id!r}", f"Expired{request_id!r}"} & happened
    match action:
        case "mine" if not exists:
            chain.mine(created(number))
        case "settle" if exists and not ended:
            chain.mine(settled(number))
        case "expire" if exists and not ended:
            chain.mine(expired(number))
        case "reorganise":
            chain.reorganise(number)
        case "reorganise while reading":
            chain.mine()
            chain.during_events = partial(chain.reorganise, number)
        case "fail":
            chain.fails = number
        case "step":
            for _ in range(number):
                with contextlib.suppress(RetryableError):
                    watcher.step()
        case _:
            chain.mine()
