"""A watcher and a pool whose nodes misbehave: real Anvil, behind proxies that lie on demand."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from oracle import anvil
from oracle.chain.errors import LogsTruncatedError, NodeBehindError, NodeInconsistentError
from oracle.chain.node import RpcNode
from oracle.chain.nodes import Nodes
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc, quantity
from oracle.chain.spans import LogCheck
from oracle.chain.watcher import Watcher
from oracle.config import Settings
from oracle.errors import ChainError, RetryableError
from oracle.store.rows import Identity, RequestState
from oracle.store.store import Store
from oracle.supervisor import running
from oracle.types.ids import Address, RequestId, hex_of
from oracle.wiring import now_ms
from tests.fakes import FakeEnclave, eventually, serving
from tests.integration.conftest import Chain
from tests.lying_proxy import LyingProxy, lying

TIMEOUT_S = 0.5
REQUESTS = 3
MISBEHAVIOURS: dict[str, dict[str, Any]] = {
    "refuses": {"status": 429, "retry_after_s": 1},
    "is broken": {"status": 502},
    "is overloaded": {"status": 503},
    "drops": {"drops": True},
    "hangs": {"hangs": True},
    "answers late": {"delay_s": 0.3},
    "answers without end": {"endless": True},
    "is a web page": {"garbage": True},
    "has internal errors": {"error_code": -32603},
    "is rate limited": {"error_code": -32005},
    "answers old": {"old_blocks": 3},
    "is far behind": {"old_blocks": 50},
    "truncates logs": {"truncates": True},
    "names a head too far ahead": {"head_ahead": 5_000},
    "names a head a little ahead": {"head_ahead": 2},
    "makes up hashes": {"false_hashes": True},
    "misbehaves now and then": {"status": 503, "share": 0.5},
    "truncates now and then": {"truncates": True, "share": 0.5},
    "lies about hashes now and then": {"false_hashes": True, "share": 0.5},
}


def reader(chain: Chain, rpc: Nodes | Rpc, check_logs: LogCheck = "bloom") -> ChainReader:
    return ChainReader(rpc, anvil.CHAIN_ID, chain.coprocessor, chain.pool_id, check_logs)


@contextmanager
def over(urls: list[str], agreement: int = 1) -> Iterator[Nodes]:
    nodes = Nodes([Rpc(url, TIMEOUT_S) for url in urls], agreement, chain_id=anvil.CHAIN_ID)
    try:
        yield nodes
    finally:
        nodes.close()


@contextmanager
def watching(chain: Chain, read: ChainReader, path: Path) -> Iterator[tuple[Watcher, Store]]:
    with Store.open(f"sqlite:///{path}/pool.sqlite", create=True) as store:
        start = chain.reader.block(chain.deployment.start_block)
        store.chain.adopt(Identity(anvil.CHAIN_ID, chain.coprocessor, start))
        yield Watcher(read, store.chain, lambda new: None, now_ms), store


def follow(watcher: Watcher) -> bool:
    """One step; whether there is nothing more to read."""
    with contextlib.suppress(RetryableError, ChainError):
        return watcher.step() == 0
    return False


def agrees(chain: Chain, store: Store, asked: set[RequestId]) -> bool:
    """Whether the store says what the chain says, up to its head."""
    head = chain.reader.head()
    stored = {row.request_id for row in store.requests.latest(1_000) if row.block_number is not None}
    return store.chain.cursor() == head and stored == asked


@pytest.fixture
def proxy(chain: Chain) -> Iterator[LyingProxy]:
    with lying(chain.node) as made:
        yield made


@pytest.mark.parametrize("agreement", [1, 2])
@pytest.mark.parametrize("what", MISBEHAVIOURS)
def test_one_of_three_misbehaves_nothing_is_missed(
    chain: Chain, proxy: LyingProxy, tmp_path: Path, what: str, agreement: int
) -> None:
    """N1, N6: with the liar preferred. All that was asked is read, before and after a reorganisation."""
    chain.rpc.call("anvil_mine", "0x50")
    asked: set[RequestId] = set()
    with (
        lying(chain.node) as honest,
        over([proxy.rpc_url, chain.node.rpc_url, honest.rpc_url], agreement) as nodes,
        watching(chain, reader(chain, nodes), tmp_path) as (watcher, store),
    ):
        eventually(lambda: follow(watcher) and agrees(chain, store, asked))
        proxy.do(**MISBEHAVIOURS[what])
        for _ in range(REQUESTS):
            asked.add(chain.request().request.request_id)
            follow(watcher)
        eventually(lambda: follow(watcher) and agrees(chain, store, asked))
        before = store.requests.counts()
        chain.rpc.call("anvil_reorg", 2, [])
        asked = {event.request.request_id for event in chain.reader.events(0, chain.reader.head().number)}  # type: ignore[union-attr]
        asked.add(chain.request().request.request_id)
        eventually(lambda: follow(watcher) and agrees(chain, store, asked))
        assert before[RequestState.PENDING] == REQUESTS
        assert proxy.refused > 0


@pytest.mark.parametrize("what", MISBEHAVIOURS)
def test_sole_node_misbehaves_nothing_is_missed_once_it_behaves(
    chain: Chain, proxy: LyingProxy, tmp_path: Path, what: str
) -> None:
    """N1, N6: the cursor never passes a request that was not read."""
    chain.rpc.call("anvil_mine", "0x50")
    asked: set[RequestId] = set()
    with (
        over([proxy.rpc_url]) as nodes,
        watching(chain, reader(chain, nodes), tmp_path) as (watcher, store),
    ):
        eventually(lambda: follow(watcher) and agrees(chain, store, asked))
        proxy.do(**MISBEHAVIOURS[what])
        for _ in range(REQUESTS):
            asked.add(chain.request().request.request_id)
            with contextlib.suppress(RetryableError, ChainError):
                watcher.step()
        proxy.behave()
        eventually(lambda: follow(watcher) and agrees(chain, store, asked))


@pytest.mark.parametrize("agreement", [1, 2])
def test_liar_is_set_aside_and_used_again(
    chain: Chain, proxy: LyingProxy, agreement: int, caplog: pytest.LogCaptureFixture
) -> None:
    """N3."""
    with lying(chain.node) as honest, over([proxy.rpc_url, chain.node.rpc_url, honest.rpc_url], agreement) as nodes:
        proxy.do(head_ahead=5_000)
        eventually(lambda: nodes.head() and proxy.rpc_url in nodes.benched())
        asked = len(proxy.asked)
        for _ in range(10):
            assert nodes.head() == chain.reader.head()
        assert len(proxy.asked) - asked <= 2
        proxy.behave()
        eventually(lambda: nodes.head() and not nodes.benched(), 10)
        asked = len(proxy.asked)
        eventually(lambda: nodes.head() and len(proxy.asked) > asked)
    assert caplog.text.count(f"node {proxy.rpc_url} is not asked") == 1


def test_busy_node_is_asked_again_when_it_said(chain: Chain, proxy: LyingProxy) -> None:
    """N3: over real HTTP."""
    with over([proxy.rpc_url]) as nodes:
        proxy.do(status=429, retry_after_s=1.5)
        with pytest.raises(RetryableError):
            nodes.head()
        proxy.behave()
        asked = len(proxy.asked)
        with pytest.raises(RetryableError):
            nodes.head()
        assert len(proxy.asked) == asked

        def answers() -> bool:
            with contextlib.suppress(RetryableError):
                return nodes.head() is not None
            return False

        eventually(answers, 5)


# -- logs --------------------------------------------------------------------------------------------------------------


def in_one_block(chain: Chain, count: int) -> int:
    """This many requests in one block, whose number is returned."""
    chain.rpc.call("evm_setAutomine", False)
    program, pool = chain.program.program_id, chain.pool_id
    deadline_s = chain.reader.head().timestamp_s + 600
    from oracle.chain.contracts import abi  # noqa: PLC0415

    calldata = abi("Coprocessor").encode("request", program, pool, deadline_s, 0, b"x")
    sender = hex_of(chain.asker.address)
    for _ in range(count):
        transaction = {"from": sender, "to": hex_of(chain.coprocessor), "data": hex_of(calldata), "value": hex(10**16)}
        chain.rpc.call("eth_sendTransaction", transaction)
    chain.rpc.call("evm_mine")
    chain.rpc.call("evm_setAutomine", True)
    return chain.reader.head().number


@pytest.mark.parametrize(("check", "given"), [("no", 2), ("bloom", 2), ("receipts", None)])
def test_answer_cut_inside_a_block_takes_receipts_to_find(
    chain: Chain, proxy: LyingProxy, check: LogCheck, given: int | None
) -> None:
    """N6: what `spans` says is and is not detected with one node."""
    number = in_one_block(chain, 4)
    proxy.do(truncates=True)
    rpc = Rpc(proxy.rpc_url)
    if given is None:
        with pytest.raises(LogsTruncatedError, match="2 of the 4 logs"):
            reader(chain, rpc, check).events(number, number)
    else:
        assert len(reader(chain, rpc, check).events(number, number)) == given
    proxy.behave()
    assert len(reader(chain, rpc, check).events(number, number)) == 4
    rpc.close()


@pytest.mark.parametrize(("check", "is_found"), [("no", False), ("bloom", True), ("receipts", True)])
def test_answer_cut_between_blocks_is_found_by_their_filters(
    chain: Chain, proxy: LyingProxy, check: LogCheck, is_found: bool
) -> None:
    """N6."""
    numbers = [chain.request().block_number for _ in range(4)]
    first, last = numbers[0], numbers[-1]
    rpc = Rpc(proxy.rpc_url)
    proxy.do(truncates=True)
    if is_found:
        with pytest.raises(LogsTruncatedError):
            reader(chain, rpc, check).events(first, last)
    else:
        assert len(reader(chain, rpc, check).events(first, last)) == 2
    rpc.close()


def test_node_without_receipts_of_a_block_is_asked_by_its_hash(chain: Chain, proxy: LyingProxy) -> None:
    """N6."""
    numbers = [chain.request().block_number for _ in range(4)]
    first, last = numbers[0], numbers[-1]
    rpc = Rpc(proxy.rpc_url)
    _forbid(proxy, "eth_getBlockReceipts")
    proxy.do(nonce_ahead=1)  # so that answers go through the proxy's hands
    assert len(reader(chain, rpc, "receipts").events(first, last)) == 4
    assert "eth_getBlockReceipts" in proxy.asked
    rpc.close()


def _forbid(proxy: LyingProxy, method: str) -> None:
    ask = proxy.ask

    def without(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        error = {"code": -32601, "message": "no such method"}
        return [
            {"id": call["id"], "error": error} if call["method"] == method else answer
            for call, answer in zip(calls, ask(calls), strict=True)
        ]

    proxy.ask = without  # type: ignore[method-assign]


def test_span_beyond_what_the_node_has_is_refused(chain: Chain, proxy: LyingProxy) -> None:
    """N6: nodes answer for blocks they do not have, with fewer logs."""
    made = chain.request()
    chain.rpc.call("anvil_mine", "0x3")
    proxy.do(old_blocks=3)
    rpc = Rpc(proxy.rpc_url)
    for check in ("no", "bloom"):
        with pytest.raises(NodeBehindError):
            reader(chain, rpc, check).events(made.block_number, made.block_number + 1)  # type: ignore[arg-type]
    proxy.do(false_hashes=True)
    with pytest.raises(NodeInconsistentError):
        reader(chain, rpc).events(made.block_number, made.block_number + 1)
    rpc.close()


def test_blocks_that_do_not_follow_one_another_are_refused(chain: Chain, proxy: LyingProxy) -> None:
    """N3: made-up hashes undo nothing, and end no pool."""
    chain.rpc.call("anvil_mine", "0x5")
    head, rpc = chain.reader.head().number, Rpc(proxy.rpc_url)
    proxy.do(false_hashes=True)
    with pytest.raises(NodeInconsistentError):
        reader(chain, rpc).blocks([head, head - 1, head - 2])
    with pytest.raises(NodeInconsistentError):
        reader(chain, rpc).block(head - 1)
    proxy.behave()
    assert reader(chain, rpc).block(head) == chain.reader.head()
    rpc.close()


def test_filters_of_real_blocks_rule_out_nothing_that_is_there(chain: Chain) -> None:
    """S4, against the blocks of a real node, in both modes, over more headers than fit into one call."""
    chain.rpc.call("anvil_mine", hex(150))
    for _ in range(3):
        chain.request()
    in_one_block(chain, 5)
    head = chain.reader.head().number
    for check in ("bloom", "receipts", "no"):
        events = reader(chain, chain.rpc, check).events(0, head)  # type: ignore[arg-type]
        assert len(events) == 8


# -- sending -----------------------------------------------------------------------------------------------------------

RELAY = Address(anvil.ACCOUNTS[1].address)


def test_nonce_of_one_liar_makes_no_gap(chain: Chain, proxy: LyingProxy) -> None:
    """N1."""
    with lying(chain.node) as honest, over([proxy.rpc_url, chain.node.rpc_url, honest.rpc_url], 2) as nodes:
        proxy.do(nonce_ahead=1_000)
        assert RpcNode(nodes).account(RELAY).nonce == 0
        assert RpcNode(nodes).simulate(RELAY, RELAY, b"", 50_000).nonce == 0


def test_transaction_lost_by_one_node_arrives_by_another(chain: Chain, proxy: LyingProxy) -> None:
    """N4."""
    with over([proxy.rpc_url, chain.node.rpc_url]) as nodes:
        proxy.do(loses_transactions=True)
        wallet = replace(chain.asker, rpc=nodes)
        assert wallet.send(chain.asker.address, b"")["status"] == "0x1"
        eventually(lambda: "eth_sendRawTransaction" in proxy.asked)


# -- whole pools -------------------------------------------------------------------------------------------------------


def settled(store: Store, asked: list[RequestId]) -> bool:
    counts = store.requests.counts()
    return counts[RequestState.SETTLED] == len(asked)


def audit(chain: Chain, store: Store, asked: list[RequestId]) -> None:
    """What anybody can check from outside."""
    assert chain.settlements() == dict.fromkeys(asked, 1)
    mined = RpcNode(chain.rpc).account(RELAY).nonce
    assert mined == quantity(chain.rpc.call("eth_getTransactionCount", hex_of(RELAY), "pending"))
    eventually(lambda: store.journal.next_nonce(RELAY, mined) == mined and not store.journal.sent(RELAY))


TROUBLES = (
    "hangs",
    "refuses",
    "answers old",
    "truncates logs",
    "names a head too far ahead",
    "makes up hashes",
    "misbehaves now and then",
)


@pytest.mark.parametrize("agreement", [1, 2])
def test_pool_with_a_node_that_lies_serves_on(
    chain: Chain, proxy: LyingProxy, settings: Settings, agreement: int
) -> None:
    """N1: real processes; the liar is preferred, and announces the heads. Each request settles once."""
    assert settings.enclave_socket is not None
    with lying(chain.node) as honest:
        urls = (proxy.rpc_url, chain.node.rpc_url, honest.rpc_url)
        several = replace(
            settings, rpc_urls=urls, rpc_agreement=agreement, ws_url=proxy.ws_url, rpc_timeout_s=2.0, finality="1"
        )
        with (
            serving(FakeEnclave(), settings.enclave_socket),
            running(several),
            Store.open(settings.database) as store,
        ):
            asked: list[RequestId] = []
            for number, trouble in enumerate(TROUBLES):
                proxy.do(**MISBEHAVIOURS[trouble])
                proxy.drop_subscriptions()
                asked += [chain.request(b"%d" % number).request.request_id for _ in range(3)]
                chain.rpc.call("evm_mine")
                eventually(partial(settled, store, asked), 40, f"all settled while the node {trouble}")
            proxy.behave()
            audit(chain, store, asked)


def test_pool_with_a_sole_node_that_misbehaves_recovers(chain: Chain, proxy: LyingProxy, settings: Settings) -> None:
    """N1."""
    assert settings.enclave_socket is not None
    sole = replace(settings, rpc_url=proxy.rpc_url, ws_url=proxy.ws_url, rpc_timeout_s=1.0)
    with serving(FakeEnclave(), settings.enclave_socket), running(sole), Store.open(settings.database) as store:
        asked: list[RequestId] = []
        for trouble in TROUBLES:
            proxy.do(**MISBEHAVIOURS[trouble])
            asked += [chain.request(trouble.encode()).request.request_id for _ in range(2)]
            refused = proxy.refused
            eventually(lambda: proxy.refused > refused, 20)  # noqa: B023
            proxy.behave()
            eventually(partial(settled, store, asked), 40, f"all settled after the node {trouble}")
        audit(chain, store, asked)


def test_pool_killed_while_its_sole_node_is_broken_comes_back(
    chain: Chain, proxy: LyingProxy, settings: Settings
) -> None:
    """P1: a web page in place of a node is a wrong setting at first, and trouble later."""
    assert settings.enclave_socket is not None
    sole = replace(settings, rpc_url=proxy.rpc_url, ws_url=None)
    with serving(FakeEnclave(), settings.enclave_socket), running(sole) as pool, Store.open(settings.database) as store:
        asked = [chain.request(b"before").request.request_id]
        eventually(partial(settled, store, asked), 20)
        proxy.do(garbage=True)
        before = pool.pids()
        parts = ("watcher", "worker", "submitter")
        for part in parts:
            os.kill(before[part], signal.SIGKILL)
        eventually(lambda: all(pool.pids().get(part) not in (None, before[part]) for part in parts), 20)
        refused = proxy.refused
        eventually(lambda: proxy.refused >= refused + 6, 30, "asked in vain")
        proxy.behave()
        asked.append(chain.request(b"after").request.request_id)
        eventually(partial(settled, store, asked), 40)
        audit(chain, store, asked)


def test_pool_subscription_dropped_stalled_or_refused_heads_are_seen(
    chain: Chain, proxy: LyingProxy, settings: Settings
) -> None:
    """N7."""
    assert settings.enclave_socket is not None
    subscribed = replace(settings, ws_url=proxy.ws_url, poll_interval_s=0.2)
    with serving(FakeEnclave(), settings.enclave_socket), running(subscribed), Store.open(settings.database) as store:
        asked: list[RequestId] = []
        for trouble in ("none", "drop", "silent_ws", "no_ws", "none"):
            proxy.behave()
            eventually(lambda: proxy.subscriptions == 1, 30, "subscribed")
            if trouble in ("silent_ws", "no_ws"):
                proxy.do(**{trouble: True})
            if trouble in ("drop", "no_ws"):
                proxy.drop_subscriptions()
            for number in range(5):
                asked.append(chain.request(b"%d" % number).request.request_id)
                eventually(partial(settled, store, asked), 20, f"all settled with trouble {trouble}")
        audit(chain, store, asked)
