"""The watcher against a chain that reorganises, fails and answers too much, with a real store behind it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.chain.errors import ChainMovedError, NodeBehindError
from oracle.chain.watcher import Watcher
from oracle.errors import ChainMismatchError, RetryableError
from oracle.store.rows import Identity, RequestState
from oracle.store.store import Store
from oracle.types.block import Created, Event, Expired, Settled
from oracle.types.finality import Finality, FinalityPolicy
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
def watching(chain: FakeChain, woken: list[RequestId], **options: Any) -> Iterator[tuple[Watcher, Store]]:
    with (
        tempfile.TemporaryDirectory() as directory,
        Store.open(f"sqlite:///{Path(directory)}/pool.sqlite", create=True) as store,
    ):
        start = chain.blocks([0])[0]
        assert start is not None
        store.chain.adopt(Identity(31337, a_request().coprocessor, start))
        options.setdefault("now_ms", lambda: 1_000)
        store.chain.finality = options.pop("finality", FinalityPolicy())
        yield Watcher(chain, store.chain, woken.extend, **options), store


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
    with watching(chain, woken, finality=FinalityPolicy.parse("2", ())) as (watcher, _):
        chain.mine(created(1))
        chain.mine()
        catch_up(watcher)
        assert woken == []
        chain.mine()
        catch_up(watcher)
        assert woken == [a_request(1).request_id]


@pytest.mark.parametrize("tag", ["safe", "finalized"])
def test_step_waits_for_the_block_that_consensus_names(tag: str, caplog: pytest.LogCaptureFixture) -> None:
    """N8."""
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    with watching(chain, woken, finality=FinalityPolicy.parse(tag, ())) as (watcher, store):
        chain.mine(created(1))
        catch_up(watcher)
        catch_up(watcher)
        assert caplog.text.count("the node names none") == 1  # said once, and nothing is served meanwhile
        chain.mine()
        chain.tags = {"safe": 1, "finalized": 0} if tag == "safe" else {"safe": 2, "finalized": 1}
        chain.mine()
        catch_up(watcher)
        assert woken == [a_request(1).request_id]
        assert store.requests.counts()[RequestState.PENDING] == 1


def test_step_consumer_may_be_served_by_another_choice() -> None:
    """N8."""
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    careful = a_request(1, consumer=Address(b"\xcc" * 20))
    policy = FinalityPolicy.parse("latest", ["0x" + "cc" * 20 + "=3"])
    with watching(chain, woken, finality=policy) as (watcher, store):
        chain.mine(lambda block: Created(careful, b"input", block, b"\x01" * 32), created(2))
        catch_up(watcher)
        assert woken == [a_request(2).request_id]
        chain.mine()
        chain.mine()
        catch_up(watcher)
        assert len(woken) == 1
        chain.mine()
        catch_up(watcher)
        assert woken == [a_request(2).request_id, careful.request_id]
        stored = store.requests.get(careful.request_id)
        assert stored is not None
        assert stored.finality == Finality(3)


def test_step_changed_setting_is_for_requests_to_come() -> None:
    """N8: the choice is kept with the request."""
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    with watching(chain, woken, finality=FinalityPolicy.parse("2", ())) as (watcher, store):
        chain.mine(created(1))
        catch_up(watcher)
        store.chain.finality = FinalityPolicy()
        chain.mine(created(2))
        catch_up(watcher)
        assert woken == [a_request(2).request_id]
        chain.mine()
        catch_up(watcher)
        assert woken == [a_request(2).request_id, a_request(1).request_id]
        assert store.chain.awaited() == set()


def test_step_reorganised_request_waits_anew() -> None:
    """N8: confirmations count from the block where the request is now."""
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    with watching(chain, woken, finality=FinalityPolicy.parse("2", ())) as (watcher, store):
        chain.mine(created(1))
        chain.mine()
        catch_up(watcher)
        chain.mine()
        catch_up(watcher)
        assert woken == [a_request(1).request_id]
        chain.reorganise(3, [], [], [created(1)])
        catch_up(watcher)
        assert store.requests.counts()[RequestState.SEEN] == 1
        chain.mine()
        catch_up(watcher)
        assert len(woken) == 1
        chain.mine()
        catch_up(watcher)
        assert woken == [a_request(1).request_id] * 2


def test_step_node_that_lags_is_waited_for() -> None:
    """N5: a chain that ends before the cursor, and is ours as far as it goes, undoes nothing."""
    chain, woken, clock = FakeChain(), [], [1_000]  # type: ignore[var-annotated]
    with watching(chain, woken, now_ms=lambda: clock[0]) as (watcher, store):
        chain.mine(created(1))
        chain.mine(settled(1))
        chain.mine()
        catch_up(watcher)
        chain.lags = 2
        for _ in range(3):
            with pytest.raises(NodeBehindError):
                watcher.step()
        assert store.requests.counts()[RequestState.SETTLED] == 1
        chain.lags = 0
        clock[0] += 60_000
        assert watcher.step() == 0
        chain.lags = 2  # the patience begins anew
        with pytest.raises(NodeBehindError):
            watcher.step()


def test_step_chain_that_stays_shorter_is_believed() -> None:
    """P5."""
    chain, woken, clock = FakeChain(), [], [1_000]  # type: ignore[var-annotated]
    with watching(chain, woken, now_ms=lambda: clock[0], believe_after_ms=15_000) as (watcher, store):
        chain.mine(created(1))
        chain.mine(settled(1))
        chain.mine()
        for _ in range(3):
            watcher.step()
        chain.shorten(2)
        with pytest.raises(NodeBehindError):
            watcher.step()
        clock[0] += 15_000
        assert watcher.step() < 0
        assert store.requests.counts()[RequestState.SETTLED] == 0


def test_step_shorter_chain_of_another_history_rewinds_at_once() -> None:
    """P5."""
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    with watching(chain, woken, max_span_blocks=1) as (watcher, store):
        chain.mine(created(1))
        chain.mine(settled(1))
        chain.mine()
        catch_up(watcher)
        chain.reorganise(2, [])
        assert watcher.step() < 0
        catch_up(watcher)
        assert store.requests.counts()[RequestState.PENDING] == 1


def test_step_truncated_logs_halve_the_span() -> None:
    """N6."""
    chain, woken = FakeChain(), []  # type: ignore[var-annotated]
    chain.truncates_over = 3
    for number in range(20):
        chain.mine(created(number))
    with watching(chain, woken) as (watcher, _):
        catch_up(watcher)
        assert woken == [a_request(number).request_id for number in range(20)]


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
    """P7: a node may make up hashes for a moment, so it has to go on saying it."""
    chain, other, clock = FakeChain(), FakeChain(), [1_000]
    with watching(chain, [], now_ms=lambda: clock[0]) as (watcher, store):
        chain.mine()
        catch_up(watcher)
        other.mine()
        other.mine()
        watcher.chain = other
        for _ in range(3):
            with pytest.raises(ChainMovedError):
                watcher.step()
        watcher.chain = chain
        assert watcher.step() == 0
        clock[0] += 60_000
        watcher.chain = other
        with pytest.raises(ChainMovedError):
            watcher.step()
        clock[0] += watcher.believe_after_ms
        with pytest.raises(ChainMismatchError, match="restarted"):
            watcher.step()
        assert store.chain.cursor() == chain.head()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("mine"), st.integers(0, 6)),
        st.tuples(st.just("settle"), st.integers(0, 6)),
        st.tuples(st.just("expire"), st.integers(0, 6)),
        st.tuples(st.just("reorganise"), st.integers(1, 64)),
        st.tuples(st.just("reorganise while reading"), st.integers(1, 8)),
        st.tuples(st.just("fail"), st.integers(1, 3)),
        st.tuples(st.just("lag"), st.integers(0, 3)),
        st.tuples(st.just("step"), st.integers(1, 3)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS, span=st.integers(1, 9), choice=st.sampled_from(["latest", "1", "3", "safe", "finalized"]))
def test_any_history_ends_with_the_store_saying_what_the_chain_says(
    actions: list[tuple[str, int]], span: int, choice: str
) -> None:
    """P4, P5, N8: whatever happened on the way, after catching up every request stands where the chain says."""
    chain, woken = FakeChain(max_events=4), []  # type: ignore[var-annotated]
    policy = FinalityPolicy.parse(choice, ())
    with watching(chain, woken, max_span_blocks=span, finality=policy) as (watcher, store):
        for action, number in actions:
            _apply(chain, watcher, action, number)
        chain.lags = 0
        catch_up(watcher)
        for _ in range(3):
            chain.mine()
        chain.tags = dict.fromkeys(("safe", "finalized"), chain.head().number)
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
        case "lag":
            chain.lags = min(number, len(chain._blocks) - 1)
        case "step":
            for _ in range(number):
                with contextlib.suppress(RetryableError):
                    watcher.step()
        case _:
            chain.mine()
