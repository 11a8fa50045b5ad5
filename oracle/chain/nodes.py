"""
Several nodes as one source of answers: failover, agreement, and a memory of which of them failed.

N1. With an agreement of k, what decides something (the head, blocks, logs, tx receipts, nonces) is believed when k
    nodes say it. Fewer than k liars or laggards change nothing, as long as k others answer.
N2. With an agreement of 1 the node with the newest plausible head is believed. What undoes stored history (a changed
    block hash) is then still asked of more than half of the nodes that can be asked.
N3. A node that does not answer, answers late, is busy, is far behind or ahead of the others, contradicts itself or a
    majority, or serves another chain is set aside for a while, with one log line, and then used again
    (`oracle.chain.standing`).
N4. A transaction goes to every node; simulations and balances are asked of one that is at the head.

With one node there is nobody to compare with: it is believed in everything that does not contradict itself, and all
that is left is to pause between attempts, and to leave it alone for as long as it asks.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from oracle import metrics
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
from oracle.chain.rpc import Call, Rpc
from oracle.chain.standing import FAR_BLOCKS, Standing, implausible
from oracle.errors import AdytonError, ChainMismatchError, ConfigurationError
from oracle.types.block import BlockRef
from oracle.types.finality import Tag

T = TypeVar("T")
_GRACE_S = 1.0  # for the slowest node, after enough others have answered
_FRESH_S = 1.0  # how old a look at all heads may be for reads that need a node at the head
_OTHER_CHAIN_PAUSE_S = 300.0
_MAX_IN_FLIGHT = 4  # per node; more are not sent to one that hangs
_UNSUPPORTED = (-32601, -32603)  # no such method, internal error: another node may know


@dataclass(slots=True, eq=False)
class _Node:
    """One node and its record."""

    rpc: Rpc
    standing: Standing
    in_flight: int = 0
    is_checked: bool = False  # whether it was seen to serve our chain


@dataclass(slots=True)
class _Answer(Generic[T]):
    """What one node said: a value, or why there is none."""

    node: _Node
    value: T | None = None
    error: AdytonError | None = None


class Nodes:
    """`oracle.chain.rpc.JsonRpc` over one or more nodes, the preferred first. Safe to share between threads."""

    def __init__(
        self,
        rpcs: Sequence[Rpc],
        agreement: int = 1,
        *,
        chain_id: int | None = None,
        now_s: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """
        `chain_id` is what each node has to serve before it is believed; None, or a sole node: left to `require_chain`.

        Raises:
            ConfigurationError: more nodes have to agree than there are.
        """
        if not 1 <= agreement <= len(rpcs):
            raise ConfigurationError(f"rpc_agreement is {agreement}, but there are {len(rpcs)} nodes in rpc_urls")
        self.agreement = agreement
        self._nodes = [_Node(rpc, Standing(rpc.name)) for rpc in rpcs]
        self._chain_id = chain_id
        self._now_s = now_s
        self._jitter = jitter
        self._lock = threading.Lock()
        self._leader: _Node | None = None
        self._head_number = 0
        self._surveyed_at_s: float | None = None

    @property
    def name(self) -> str:
        """All of them, for messages."""
        return ", ".join(node.rpc.name for node in self._nodes)

    def benched(self) -> dict[str, str]:
        """The nodes that are set aside now, by name, with the reason."""
        now_s = self._now_s()
        with self._lock:
            return {n.rpc.name: n.standing.reason for n in self._nodes if not n.standing.is_active(now_s)}

    def call(self, method: str, *params: Any) -> Any:
        """As `Rpc.call`, on a node that is at the head."""
        return self.batch([(method, params)])[0]

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """As `Rpc.batch`, on a node that is at the head."""
        return self.at_head(lambda rpc: rpc.batch(calls))

    def require_chain(self, chain_id: int) -> None:
        """
        Check that some node serves `chain_id`; those that serve another are set aside.

        Raises:
            ChainMismatchError: no node that answers serves it.
        """
        self._failover(lambda rpc: rpc.require_chain(chain_id), self._candidates())

    def head(self, tag: Tag = "latest") -> BlockRef:
        """
        The newest block that enough nodes have; with an agreement of 1, the newest `latest` that a plausible node
        names, or the oldest `safe` or `finalized`.

        Raises:
            NodesDisagreeError: no block is common to enough of them.
        """
        if len(self._nodes) == 1:
            return self._failover(lambda rpc: rpc.head(tag), self._candidates())
        heads = self._survey(tag)
        if tag != "latest" and self.agreement == 1:
            return min(heads.values(), key=lambda block: block.number)  # nobody is believed who is ahead in this
        head, leader = self._common_head(heads) if self.agreement > 1 else self._newest_head(heads)
        if tag == "latest":
            with self._lock:
                self._leader, self._head_number, self._surveyed_at_s = leader, head.number, self._now_s()
        return head

    def agreed(self, read: Callable[[Rpc], T], *, by_majority: bool = False) -> T:
        """
        What enough nodes say alike.

        Raises:
            NodesDisagreeError: too few say the same.
            AdytonError: what `read` raises, if too few nodes give a value.
        """
        candidates = self._candidates(self.agreement)
        needed = max(self.agreement, len(candidates) // 2 + 1 if by_majority else 1)
        if needed == 1:
            return self._failover(read, candidates)
        return self._quorum(read, candidates, needed)

    def at_head(self, read: Callable[[Rpc], T]) -> T:
        """What one node says whose head is no older than that of the others. Raises what `read` raises."""
        if len(self._nodes) == 1:
            return self._failover(read, self._candidates())
        surveyed_at_s = self._surveyed_at_s
        if surveyed_at_s is None or self._now_s() - surveyed_at_s > _FRESH_S:
            self.head()
        candidates = self._candidates()
        at_head = [node for node in candidates if (node.standing.head or 0) >= self._head_number]
        return self._failover(read, at_head or candidates)

    def at_least(self, read: Callable[[Rpc], int]) -> int:
        """
        The largest number that as many nodes as must agree reach or exceed.

        Raises:
            NodesDisagreeError: too few answered.
        """
        if self.agreement == 1:
            return self.at_head(read)
        answers = [a for a in self._ask_all(read, self._candidates(self.agreement), self.agreement) if a.error is None]
        numbers = sorted((answer.value for answer in answers if answer.value is not None), reverse=True)
        if len(numbers) < self.agreement:
            raise NodesDisagreeError(f"{len(numbers)} nodes answered, {self.agreement} are needed")
        return numbers[self.agreement - 1]

    def each(self, write: Callable[[Rpc], None]) -> None:
        """
        Run `write` on every node that can be asked, the benched ones included; the first that takes it is enough.

        Raises:
            AdytonError: the first reason of those that all nodes gave.
        """
        if len(self._nodes) == 1:
            self._failover(write, self._candidates())
            return
        now_s = self._now_s()
        with self._lock:
            reachable = [n for n in self._nodes if n.standing.is_active(now_s) or not n.standing.has_asked_to_wait]
        errors: list[AdytonError] = []
        for answer in self._ask_each(write, reachable):
            if answer.error is None:
                return
            errors.append(answer.error)
        refusals = [error for error in errors if isinstance(error, RpcError)]
        raise next(iter(refusals + errors), NodeUnreachableError(f"no node can be asked now: {self._reasons()}"))

    def close(self) -> None:
        """Close the connections."""
        for node in self._nodes:
            node.rpc.close()

    # -- whom to ask ---------------------------------------------------------------------------------------------------

    def _candidates(self, needed: int = 1) -> list[_Node]:
        """The nodes that may be asked, the leader first; benched ones only if there are too few others."""
        now_s = self._now_s()
        with self._lock:
            active = [node for node in self._nodes if node.standing.is_active(now_s)]
            if len(active) < needed:
                active += [n for n in self._nodes if n not in active and n.standing.is_last_resort(now_s)]
            if not active:
                raise NodeUnreachableError(f"no node can be asked now: {self._reasons()}")
            return sorted(active, key=lambda node: node is not self._leader)

    def _reasons(self) -> str:
        return "; ".join(n.standing.reason for n in self._nodes if n.standing.reason) or "all are busy"

    def _strike(self, node: _Node, reason: str, wait_s: float | None = None) -> None:
        metrics.count("node_failures", node=node.rpc.name)
        sole = len(self._nodes) == 1
        with self._lock:
            node.standing.strike(self._now_s(), reason, self._jitter, wait_s=wait_s, sole=sole)

    # -- asking --------------------------------------------------------------------------------------------------------

    def _ask(self, node: _Node, read: Callable[[Rpc], T]) -> _Answer[T]:
        """Run `read` on one node. What shows that it is not usable now is held against it at once."""
        try:
            if not node.is_checked and self._chain_id is not None and len(self._nodes) > 1:
                node.rpc.require_chain(self._chain_id)
            node.is_checked = True
            value = read(node.rpc)
        except NodeUnreachableError as error:
            node.is_checked = False  # whatever comes back may be another node
            self._strike(node, str(error), error.retry_after_s if isinstance(error, NodeBusyError) else None)
            return _Answer(node, error=error)
        except ChainMismatchError as error:
            if len(self._nodes) > 1:
                node.is_checked = False
                self._strike(node, str(error), _OTHER_CHAIN_PAUSE_S)
            return _Answer(node, error=error)
        except AdytonError as error:
            return _Answer(node, error=error)
        with self._lock:
            node.standing.praise(self._now_s(), sole=len(self._nodes) == 1)
        return _Answer(node, value)

    def _failover(self, read: Callable[[Rpc], T], candidates: Sequence[_Node]) -> T:
        """
        What the first node says that can. What another one could not is held against it.

        Raises:
            AdytonError: an answer that means no; or the first reason, if every node failed.
        """
        failed: list[_Answer[T]] = []
        for node in candidates:
            answer = self._ask(node, read)
            if answer.error is None:
                for other in failed:
                    self._blame(other)
                return answer.value  # type: ignore[return-value]  # T may be None
            if not _may_differ_elsewhere(answer.error):
                raise answer.error
            failed.append(answer)
        reasons = [answer.error for answer in failed if answer.error is not None]
        if len(self._nodes) > 1 and all(isinstance(error, NodeBehindError) for error in reasons):
            for answer in failed:  # nobody has the block that the leader named
                self._blame(answer)
        raise next((e for e in reasons if isinstance(e, LogsTruncatedError)), reasons[0])

    def _blame(self, answer: _Answer[T]) -> None:
        """
        Hold it against a node that another one could do what it could not. Having a block later than others is no
        fault, but the leader is asked for what it has named itself.
        """
        if isinstance(answer.error, NodeInconsistentError | NotANodeError) or (
            isinstance(answer.error, NodeBehindError) and answer.node is self._leader
        ):
            self._strike(answer.node, str(answer.error))

    def _quorum(self, read: Callable[[Rpc], T], candidates: Sequence[_Node], needed: int) -> T:
        """
        What `needed` nodes say alike; who says otherwise is struck. A no of the chain itself is said alike as well.

        Raises:
            AdytonError: that no; or why too few nodes gave an answer.
            NodesDisagreeError: too few said the same.
        """
        answers: list[_Answer[T]] = []
        failed: list[_Answer[T]] = []
        for answer in self._ask_each(read, candidates):
            if answer.error is not None and not _is_the_chains_no(answer.error):
                failed.append(answer)
                continue
            answers.append(answer)
            same = [other for other in answers if _says(other) == _says(answer)]
            if len(same) >= needed:
                for other in answers:
                    if other not in same and (other.error is not None or not _is_incomplete(other.value)):
                        self._strike(other.node, f"it contradicts {needed} other nodes")
                for other in failed:
                    self._blame(other)
                if answer.error is not None:
                    raise answer.error
                return answer.value  # type: ignore[return-value]  # T may be None
        reasons = [answer.error for answer in failed if answer.error is not None]
        smaller = next((e for e in reasons if isinstance(e, TooManyLogsError | LogsTruncatedError)), None)
        if smaller is not None:  # a smaller span may be answered alike
            raise smaller
        if not answers and reasons:
            raise reasons[0]
        names = ", ".join(answer.node.rpc.name for answer in answers)
        raise NodesDisagreeError(
            f"no {needed} nodes say the same: {len(answers)} answered ({names}), {len(failed)} failed"
        )

    def _ask_each(
        self, read: Callable[[Rpc], T], nodes: Sequence[_Node], grace: tuple[int, float] | None = None
    ) -> Iterator[_Answer[T]]:
        """
        Ask all at once; their answers as they come.

        `grace` (n, s): once n have answered well, the others have s seconds left. Nobody reads an answer after that.
        """
        answers: queue.SimpleQueue[_Answer[T]] = queue.SimpleQueue()
        waiting: list[_Node] = []
        for node in nodes:
            with self._lock:
                if node.in_flight >= _MAX_IN_FLIGHT:
                    continue
                node.in_flight += 1
            waiting.append(node)
            threading.Thread(target=self._answer_into, args=(answers, node, read), daemon=True, name="node").start()
        good, deadline_s = 0, None
        while waiting:
            try:
                timeout_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
                answer = answers.get(timeout=timeout_s)
            except queue.Empty:
                for node in waiting:
                    self._strike(node, f"node {node.rpc.name} answers more than {_GRACE_S:.0f} s later than others")
                return
            waiting.remove(answer.node)
            good += answer.error is None
            if grace is not None and good >= grace[0] and deadline_s is None:
                deadline_s = time.monotonic() + grace[1]
            yield answer

    def _answer_into(self, answers: queue.SimpleQueue[_Answer[T]], node: _Node, read: Callable[[Rpc], T]) -> None:
        answer: _Answer[T] = _Answer(node, error=NodeUnreachableError(f"asking {node.rpc.name} failed"))
        try:
            answer = self._ask(node, read)
        finally:
            with self._lock:
                node.in_flight -= 1
            answers.put(answer)

    def _ask_all(self, read: Callable[[Rpc], T], nodes: Sequence[_Node], enough: int) -> list[_Answer[T]]:
        """All answers that come within a grace period after `enough` good ones."""
        return list(self._ask_each(read, nodes, (enough, _GRACE_S)))

    # -- heads ---------------------------------------------------------------------------------------------------------

    def _survey(self, tag: Tag) -> dict[_Node, BlockRef]:
        """What each node calls its head; whose `latest` is implausible is struck and left out."""
        candidates = self._candidates(self.agreement)
        answers = self._ask_all(lambda rpc: rpc.head(tag), candidates, self.agreement)
        heads = {answer.node: answer.value for answer in answers if answer.value is not None}
        if not heads:
            raise next(
                (answer.error for answer in answers if answer.error is not None),
                NodeUnreachableError(f"no node answers: {self._reasons()}"),
            )
        if tag != "latest":
            return heads
        numbers = {node: block.number for node, block in heads.items()}
        with self._lock:
            before = {node: node.standing.head for node in heads}
            verdicts = implausible(numbers, before)
            for node, number in numbers.items():
                node.standing.head = None if node in verdicts else number
        for node, reason in verdicts.items():
            self._strike(node, reason)
        return {node: block for node, block in heads.items() if node not in verdicts}

    def _common_head(self, heads: dict[_Node, BlockRef]) -> tuple[BlockRef, _Node]:
        """The newest block that as many nodes as must agree have, with a node that has it."""
        needed = self.agreement
        numbers = sorted((block.number for block in heads.values()), reverse=True)
        if len(numbers) < needed:
            raise NodesDisagreeError(f"{len(numbers)} nodes have a plausible head, {needed} are needed")
        blocks = list(heads.values())
        for number in dict.fromkeys(numbers[needed - 1 :]):
            leader = next(node for node, block in heads.items() if block.number >= number)
            named = next((b for b in blocks if b.number == number and blocks.count(b) >= needed), None)
            if named is not None:
                return named, leader
            try:
                return self._quorum(_block_reader(number), list(heads), needed), leader
            except (NodesDisagreeError, NodeBehindError):
                continue
        raise NodesDisagreeError(f"no block is common to {needed} nodes")

    def _newest_head(self, heads: dict[_Node, BlockRef]) -> tuple[BlockRef, _Node]:
        """The newest block that a node names which does not contradict itself."""
        left = dict(heads)
        while left:
            number = max(block.number for block in left.values())
            named = {node: block for node, block in left.items() if block.number == number}
            leader = self._leader if self._leader in named else next(iter(named))
            far = self._surveyed_at_s is None or number > self._head_number + FAR_BLOCKS
            if not far and len(set(named.values())) == 1:
                return named[leader], leader
            again = self._ask(leader, _block_reader(number))
            if again.value == named[leader]:
                return named[leader], leader
            if again.error is None or isinstance(again.error, NodeBehindError):
                self._strike(leader, f"it names block {number} as its head and then does not have it")
            leader.standing.head = None
            del left[leader]
        raise NodesDisagreeError("no node has the head that it names")


def _block_reader(number: int) -> Callable[[Rpc], BlockRef]:
    return lambda rpc: rpc.block(number)


def _may_differ_elsewhere(error: AdytonError) -> bool:
    """Whether another node may have an answer, or the same one for a smaller question."""
    return not isinstance(error, TooManyLogsError) and not _is_the_chains_no(error)


def _is_the_chains_no(error: AdytonError) -> bool:
    """Whether this is an answer, such as a revert, which other nodes give as well."""
    return isinstance(error, RpcError) and not isinstance(error, TooManyLogsError) and error.code not in _UNSUPPORTED


def _says(answer: _Answer[T]) -> object:
    """What is compared: clients word the same refusal differently."""
    return (answer.error.code, answer.error.data) if isinstance(answer.error, RpcError) else (answer.value,)


def _is_incomplete(value: object) -> bool:
    """Nothing, or a list with holes: a node that does not have something yet does not lie."""
    return value is None or (isinstance(value, list) and None in value)
