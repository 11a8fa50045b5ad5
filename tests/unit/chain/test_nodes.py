"""Several nodes as one, against nodes that fail, lag and lie (N1 to N4). The clock is a variable."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.chain import nodes as nodes_module
from oracle.chain.errors import (
    LogsTruncatedError,
    NodeBehindError,
    NodeBusyError,
    NodeInconsistentError,
    NodesDisagreeError,
    NodeUnreachableError,
    NotANodeError,
    RpcError,
    TooManyLogsError,
)
from oracle.chain.nodes import Nodes
from oracle.chain.rpc import Rpc
from oracle.chain.standing import implausible
from oracle.crypto.hashing import keccak256
from oracle.errors import AdytonError, ChainMismatchError, ConfigurationError
from oracle.types.block import BlockRef
from tests.fakes import eventually


def block(number: int, branch: int = 0) -> BlockRef:
    return BlockRef(number, keccak256(b"%d/%d" % (number, branch)), number)


@dataclass
class FakeRpc:
    """A node that knows a chain up to `height`, and gives `answer` to whatever is read."""

    name: str
    height: int = 100
    branch: int = 0
    claims: int | None = None  # as its head
    answer: Any = "truth"
    fails: AdytonError | None = None
    chain_id: int = 31337
    nonce: int = 5
    hangs: threading.Event | None = None
    asked: int = 0
    taken: list[bytes] = field(default_factory=list)
    tags: dict[str, int] = field(default_factory=dict)

    def head(self, tag: str = "latest") -> BlockRef:
        self._serve()
        if tag != "latest":
            return block(self.tags[tag], self.branch)
        return block(self.height if self.claims is None else self.claims, self.branch)

    def block(self, number: int) -> BlockRef:
        self._serve()
        if number > self.height:
            raise NodeBehindError(f"no block {number}")
        return block(number, self.branch)

    def require_chain(self, chain_id: int) -> None:
        self._serve()
        if chain_id != self.chain_id:
            raise ChainMismatchError(f"{self.name} serves chain {self.chain_id}")

    def batch(self, calls: Sequence[Any]) -> list[Any]:
        self._serve()
        return [self.answer] * len(calls)

    def read(self) -> Any:
        self._serve()
        return self.answer

    def take(self, raw: bytes) -> None:
        self._serve()
        self.taken.append(raw)

    def close(self) -> None:
        pass

    def _serve(self) -> None:
        self.asked += 1
        if self.hangs is not None:
            self.hangs.wait(20)
        if self.fails is not None:
            raise self.fails


def read(rpc: Rpc) -> Any:
    return cast("FakeRpc", rpc).read()


@dataclass
class Bench:
    """`Nodes` over fakes named a, b, c, and a clock that only the test moves."""

    count: int = 3
    agreement: int = 1
    clock: float = 1_000.0
    chain_id: int | None = None

    def __post_init__(self) -> None:
        self.rpcs = [FakeRpc(name) for name in "abcde"[: self.count]]
        self.nodes = Nodes(
            cast("list[Rpc]", self.rpcs),
            self.agreement,
            chain_id=self.chain_id,
            now_s=lambda: self.clock,
            jitter=lambda: 1.0,
        )

    def __getattr__(self, name: str) -> FakeRpc:
        return next(rpc for rpc in self.rpcs if rpc.name == name)


def unreachable() -> AdytonError:
    return NodeUnreachableError("away")


# -- agreement ---------------------------------------------------------------------------------------------------------


@given(
    count=st.integers(1, 5),
    data=st.data(),
    kind=st.sampled_from(["lies", "fails", "lags"]),
)
def test_fewer_than_k_liars_change_nothing(count: int, data: st.DataObject, kind: str) -> None:
    """N1: as long as k others answer."""
    agreement = data.draw(st.integers(1, count))
    bad = data.draw(st.integers(0, min(agreement - 1, count - agreement)))
    bench = Bench(count, agreement)
    for rpc in data.draw(st.permutations(bench.rpcs))[:bad]:
        rpc.answer, rpc.branch, rpc.claims, rpc.nonce = "a lie", 1, 10**9, 10**9
        if kind == "fails":
            rpc.fails = unreachable()
        elif kind == "lags":
            rpc.height, rpc.branch, rpc.claims, rpc.answer, rpc.nonce = 60, 0, None, None, 0
    for _ in range(3):
        assert bench.nodes.agreed(read) == "truth"
        assert bench.nodes.head() == block(100)
        assert bench.nodes.at_least(lambda rpc: cast("FakeRpc", rpc).nonce) == 5
        bench.clock += 1


def test_agreed_without_enough_equal_answers_says_so() -> None:
    bench = Bench(2, 2)
    bench.b.answer = "another"
    with pytest.raises(NodesDisagreeError, match="a, b"):
        bench.nodes.agreed(read)
    assert bench.nodes.benched() == {}  # nobody knows who lies


def test_agreed_contradiction_is_held_against_the_minority() -> None:
    """N3."""
    bench = Bench(3, 2)
    bench.a.answer = "a lie"
    assert bench.nodes.agreed(read) == "truth"
    eventually(lambda: "a" in bench.nodes.benched() or bench.nodes.agreed(read) is None)
    assert set(bench.nodes.benched()) == {"a"}


def test_agreed_liar_counts_again_only_if_too_few_are_left() -> None:
    bench = Bench(3, 2)
    bench.a.answer = "a lie"
    eventually(lambda: bench.nodes.agreed(read) == "truth" and "a" in bench.nodes.benched())
    asked = bench.a.asked
    assert bench.nodes.agreed(read) == "truth"
    assert bench.a.asked == asked
    bench.b.fails = unreachable()
    bench.a.answer = "truth"
    for _ in range(5):
        bench.clock += 1
        try:
            assert bench.nodes.agreed(read) == "truth"
        except (NodesDisagreeError, NodeUnreachableError):
            continue
        return
    raise AssertionError("the benched node was never asked")


def test_agreed_node_that_has_it_not_yet_is_no_liar() -> None:
    bench = Bench(3, 2)
    bench.a.answer, bench.b.answer, bench.c.answer = [1, None], [1, 2], [1, 2]
    assert bench.nodes.agreed(read) == [1, 2]
    bench.a.answer, bench.b.answer, bench.c.answer = None, "mined", "mined"
    assert bench.nodes.agreed(read) == "mined"
    assert bench.nodes.benched() == {}


def test_agreed_by_majority_one_node_undoes_nothing() -> None:
    """N2."""
    bench = Bench(3, 1)
    bench.a.answer = "your history is gone"
    assert bench.nodes.agreed(read) == "your history is gone"
    assert bench.nodes.agreed(read, by_majority=True) == "truth"
    two = Bench(2, 1)
    two.a.answer = "your history is gone"
    with pytest.raises(NodesDisagreeError):
        two.nodes.agreed(read, by_majority=True)


@pytest.mark.parametrize("error", [TooManyLogsError("eth_getLogs", -32005, "limit"), LogsTruncatedError("cut")])
def test_agreed_answer_that_is_too_large_asks_for_a_smaller_span(error: AdytonError) -> None:
    for agreement in (1, 2):
        bench = Bench(3, agreement)
        for rpc in bench.rpcs:
            rpc.fails = error
        with pytest.raises(type(error)):
            bench.nodes.agreed(read)
        assert bench.nodes.benched() == {}  # or nobody could be asked for the smaller one


def test_agreed_on_a_refusal_of_the_chain() -> None:
    """N1: clients word it differently."""
    bench = Bench(3, 2)
    bench.a.answer = "a lie"
    bench.b.fails = RpcError("eth_call", 3, "execution reverted", b"\x01")
    bench.c.fails = RpcError("eth_call", 3, "reverted", b"\x01")
    with pytest.raises(RpcError, match="reverted"):
        bench.nodes.agreed(read)
    bench.a.answer, bench.c.fails = "truth", None
    bench.clock += 100
    assert bench.nodes.agreed(read) == "truth"
    bench.c.fails = RpcError("eth_call", 3, "reverted", b"\x02")
    bench.clock += 100
    with pytest.raises(NodesDisagreeError):
        bench.nodes.agreed(read)


def test_more_agreement_than_nodes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="rpc_agreement is 4, but there are 3"):
        Bench(3, 4)


# -- heads -------------------------------------------------------------------------------------------------------------


def test_head_is_the_newest_block_that_enough_nodes_have() -> None:
    bench = Bench(3, 2)
    bench.a.height, bench.b.height, bench.c.height = 103, 102, 101
    assert bench.nodes.head() == block(102)
    bench.a.branch = 1  # a fork: the others' newest common block
    assert bench.nodes.head() == block(101)
    assert Bench(3, 1).nodes.head() == block(100)


def test_head_of_one_node_is_the_newest() -> None:
    bench = Bench(3, 1)
    bench.c.height = 101
    assert bench.nodes.head() == block(101)
    bench.nodes.agreed(read)
    assert bench.c.asked > bench.a.asked  # and that node is asked for the rest


def test_head_too_far_ahead_is_a_lie() -> None:
    """N3."""
    bench = Bench(3, 1)
    bench.a.claims = 10_000
    assert bench.nodes.head() == block(100)
    assert "ahead of every other node" in bench.nodes.benched()["a"]


def test_head_too_far_behind_is_a_laggard() -> None:
    """N3."""
    bench = Bench(3, 1)
    bench.b.height = 10
    assert bench.nodes.head() == block(100)
    assert "90 blocks behind" in bench.nodes.benched()["b"]


def test_head_that_goes_backwards_is_not_followed() -> None:
    """N3."""
    bench = Bench(3, 1)
    assert bench.nodes.head() == block(100)
    bench.a.height = 50
    assert bench.nodes.head() == block(100)
    assert set(bench.nodes.benched()) == {"a"}


def test_head_that_the_node_itself_does_not_have_is_a_lie() -> None:
    bench = Bench(2, 1)
    bench.a.claims = 110  # a plausible number, and the first that is ever heard
    assert bench.nodes.head() == block(100)
    assert "then does not have it" in bench.nodes.benched()["a"]


def test_head_behind_the_others_by_little_is_not_chosen_and_not_punished() -> None:
    bench = Bench(3, 1)
    bench.a.height = 98
    assert bench.nodes.head() == block(100)
    assert bench.nodes.benched() == {}


def test_head_of_consensus_is_the_most_careful_one() -> None:
    bench = Bench(3, 1)
    for rpc, number in zip(bench.rpcs, (64, 96, 32), strict=True):
        rpc.tags = {"finalized": number}
    assert bench.nodes.head("finalized") == block(32)
    careful = Bench(3, 2)
    for rpc, number in zip(careful.rpcs, (64, 96, 32), strict=True):
        rpc.tags = {"finalized": number}
    assert careful.nodes.head("finalized") == block(64)


@pytest.mark.parametrize(
    ("heads", "before", "blamed"),
    [
        ({"a": 100}, {}, set()),
        ({"a": 100, "b": 99}, {}, set()),
        ({"a": 1000, "b": 100}, {"a": 99, "b": 99}, {"a"}),  # jumped: a liar
        ({"a": 1000, "b": 100}, {"a": 999, "b": 100}, {"b"}),  # went on: the other is stuck
        ({"a": 1000, "b": 100}, {}, {"b"}),
        ({"a": 1000, "b": 100, "c": 100}, {}, {"a"}),
        ({"a": 100, "b": 100, "c": 10}, {}, {"c"}),
        ({"a": 1000, "b": 100, "c": 10}, {}, {"a", "c"}),
        ({"a": 132, "b": 100, "c": 100}, {}, set()),
    ],
)
def test_implausible_heads(heads: dict[str, int], before: dict[str, int | None], blamed: set[str]) -> None:
    assert set(implausible(heads, before)) == blamed


# -- failover ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        NodeUnreachableError("away"),
        NodeBusyError("429"),
        NotANodeError("a web page"),
        NodeInconsistentError("contradicts itself"),
        LogsTruncatedError("left logs out"),
        RpcError("eth_x", -32601, "no such method"),
    ],
)
def test_failover_another_node_answers(error: AdytonError) -> None:
    bench = Bench(3, 1)
    bench.a.fails = error
    assert bench.nodes.agreed(read) == "truth"
    assert set(bench.nodes.benched()) == (set() if isinstance(error, RpcError) else {"a"})


def test_failover_the_chains_own_no_is_an_answer() -> None:
    bench = Bench(3, 1)
    bench.a.fails = RpcError("eth_call", 3, "execution reverted", b"\x01")
    with pytest.raises(RpcError, match="reverted"):
        bench.nodes.agreed(read)
    assert bench.b.asked == 0


def test_failover_is_logged_once_and_the_node_is_used_again(caplog: pytest.LogCaptureFixture) -> None:
    """N3."""
    caplog.set_level(logging.INFO)
    bench = Bench(2, 1)
    bench.a.fails = unreachable()
    for _ in range(100):
        assert bench.nodes.agreed(read) == "truth"
        bench.clock += 1
    assert caplog.text.count("node a is not asked") == 1
    assert 5 <= bench.a.asked <= 10  # ever more rarely
    bench.a.fails = None
    bench.clock += 100
    assert bench.nodes.agreed(read) == "truth"
    assert bench.nodes.benched() == {}
    assert caplog.text.count("node a is in good standing again") == 1


def test_failover_pauses_grow_to_a_cap_with_jitter() -> None:
    pauses = []
    for jitter in (0.0, 1.0):
        bench = Bench(2, 1)
        bench.nodes._jitter = lambda jitter=jitter: jitter  # type: ignore[misc]
        bench.a.fails = unreachable()
        for _ in range(8):
            begun = bench.clock
            bench.nodes.agreed(read)
            while bench.nodes.benched():
                bench.clock += 0.25
            pauses.append(bench.clock - begun)
    assert pauses == [0.5, 1, 2, 4, 8, 15, 15, 15, 1, 2, 4, 8, 16, 30, 30, 30]


def test_busy_node_is_left_alone_for_as_long_as_it_asks() -> None:
    """N3: even if nobody else is left."""
    for count in (1, 2):
        bench = Bench(count, 1)
        for rpc in bench.rpcs:
            rpc.fails = NodeBusyError("429", retry_after_s=20)
        with pytest.raises(NodeBusyError):
            bench.nodes.agreed(read)
        asked = bench.a.asked
        bench.clock += 19
        with pytest.raises(NodeUnreachableError):
            bench.nodes.agreed(read)
        assert bench.a.asked == asked
        bench.clock += 1
        bench.a.fails = None
        assert bench.nodes.agreed(read) == "truth"


def test_sole_node_is_tried_again_soon() -> None:
    bench = Bench(1, 1)
    bench.a.fails = unreachable()
    for _ in range(200):
        with pytest.raises(NodeUnreachableError):
            bench.nodes.agreed(read)
        bench.clock += 0.1
    assert 8 <= bench.a.asked <= 20  # every two seconds in the end
    bench.a.fails = None
    bench.clock += 2
    assert bench.nodes.agreed(read) == "truth"
    bench.a.fails = unreachable()  # and all is forgotten
    with pytest.raises(NodeUnreachableError):
        bench.nodes.agreed(read)
    bench.clock += 0.1
    bench.a.fails = None
    assert bench.nodes.agreed(read) == "truth"


def test_all_nodes_away_each_is_a_last_resort() -> None:
    bench = Bench(2, 1)
    bench.a.fails = bench.b.fails = unreachable()
    for _ in range(30):
        with pytest.raises(NodeUnreachableError):
            bench.nodes.agreed(read)
        bench.clock += 1
    bench.b.fails = None
    bench.clock += 2
    assert bench.nodes.agreed(read) == "truth"


def test_node_of_another_chain_is_never_believed() -> None:
    """N3."""
    bench = Bench(2, 1, chain_id=31337)
    bench.a.chain_id, bench.a.answer = 1, "of another chain"
    assert bench.nodes.agreed(read) == "truth"
    bench.nodes.require_chain(31337)
    assert "serves chain 1" in bench.nodes.benched()["a"]
    bench.b.chain_id = 1
    bench.clock += 1_000
    with pytest.raises(ChainMismatchError):
        Bench(2, 1).nodes.require_chain(1)


def test_late_node_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """N3."""
    monkeypatch.setattr(nodes_module, "_GRACE_S", 0.05)
    bench, hanging = Bench(3, 1), threading.Event()
    bench.a.hangs = hanging
    try:
        assert bench.nodes.head() == block(100)
        assert "later than others" in bench.nodes.benched()["a"]
        asked = bench.a.asked
        assert bench.nodes.head() == block(100)
        assert bench.a.asked == asked
    finally:
        hanging.set()


def test_hanging_node_gets_only_so_many_calls() -> None:
    bench, hanging = Bench(3, 2), threading.Event()
    bench.a.hangs = hanging
    try:
        for _ in range(50):
            assert bench.nodes.agreed(read) == "truth"
        assert bench.a.asked <= 4
    finally:
        hanging.set()


# -- writing, and reading at the head ----------------------------------------------------------------------------------


def send(raw: bytes) -> Callable[[Rpc], None]:
    return lambda rpc: cast("FakeRpc", rpc).take(raw)


def test_each_every_node_gets_the_transaction() -> None:
    """N4: the benched ones as well."""
    bench = Bench(3, 1)
    bench.a.claims = 10_000
    bench.nodes.head()
    assert set(bench.nodes.benched()) == {"a"}
    bench.nodes.each(send(b"raw"))
    eventually(lambda: all(rpc.taken == [b"raw"] for rpc in bench.rpcs))


def test_each_one_node_is_enough() -> None:
    bench = Bench(3, 2)
    bench.a.fails, bench.b.fails = unreachable(), RpcError("eth_sendRawTransaction", -32000, "pool is full")
    bench.nodes.each(send(b"raw"))
    assert bench.c.taken == [b"raw"]
    bench.c.fails = unreachable()
    with pytest.raises(RpcError, match="pool is full"):
        bench.nodes.each(send(b"raw"))


def test_at_head_asks_a_node_that_is_there() -> None:
    """N4."""
    bench = Bench(3, 1)
    bench.a.height, bench.a.answer = 90, "stale"
    assert bench.nodes.at_head(read) == "truth"
    assert bench.nodes.call("eth_call") == "truth"
    bench.a.height = 101
    bench.clock += 2
    assert bench.nodes.at_head(read) == "stale"  # the newest now
