"""
Turn chain events into stored requests.

Events and cursor are committed together, so a crash costs a repeated read, never a lost or doubled request. What is
read is used only if the blocks at both ends still have their hashes afterwards. A block under the cursor whose hash
changed rewinds the cursor to the newest block that both histories share. A chain that merely ends before the cursor is
taken for a node that lags, and waited for; after a while it is believed. The queue is only a wake-up call: if `wake` is
lost, the sweeper finds the request in the store.

Everything is read up to the head, ends as well as requests; a request for which more than the latest block was chosen
is woken once it is as final as that (`oracle.types.finality`).

    reader ──> Watcher.step ──> log (store) ──> wake ──> jobs
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from oracle import metrics
from oracle.chain.errors import ChainMovedError, LogsTruncatedError, NodeBehindError, RpcError, TooManyLogsError
from oracle.errors import ChainMismatchError
from oracle.types.block import BlockRef, Event
from oracle.types.finality import Finality, Heights, Tag
from oracle.types.ids import RequestId, hex_of

_LOG = logging.getLogger(__name__)
_ANCESTORS_PER_CALL = 32


class Chain(Protocol):
    """What the watcher needs of a chain. Every method may raise `RetryableError`."""

    def head(self, tag: Tag = "latest") -> BlockRef:
        """The newest block. Raises `RpcError` or `NodeBehindError` where the chain knows no such tag."""
        ...

    def blocks(self, numbers: Sequence[int], *, by_majority: bool = False) -> list[BlockRef | None]:
        """The blocks with these numbers, None where there is none; `by_majority`: not on one node's word."""
        ...

    def events(self, first: int, last: int) -> Sequence[Event]:
        """
        All events of these blocks, in order. Raises `TooManyLogsError` or `LogsTruncatedError` if they do not fit into
        one answer.
        """
        ...


class Log(Protocol):
    """What the watcher needs of the store. `advance` and `rewind` refuse a cursor that somebody else moved."""

    def tail(self) -> list[BlockRef]:
        """Blocks that the cursor stood on, newest first: the first is the cursor, the last the start."""
        ...

    def advance(
        self, expected: BlockRef, cursor: BlockRef, events: Sequence[Event], now_ms: int, due_at_ms: int
    ) -> list[RequestId]:
        """Store events and cursor; returns what is new, open and final enough."""
        ...

    def awaited(self) -> set[Finality]:
        """What requests wait for."""
        ...

    def release(self, expected: BlockRef, heights: Heights, due_at_ms: int) -> list[RequestId]:
        """Some of the requests that need not wait any longer, until there are none."""
        ...

    def rewind(self, expected: BlockRef, ancestor: BlockRef) -> None:
        """Undo what came after `ancestor`."""
        ...


@dataclass(slots=True)
class Watcher:
    """Moves the cursor towards the head. Remembers only for how long the chain has contradicted it."""

    chain: Chain
    log: Log
    wake: Callable[[Sequence[RequestId]], None]  # what is new in one span; never empty
    now_ms: Callable[[], int]
    max_span_blocks: int = 1_000  # per eth_getLogs call
    wake_again_after_ms: int = 5_000  # then the sweeper takes over
    believe_after_ms: int = 15_000  # that the chain became shorter, or is another one
    _doubt_since_ms: int | None = None
    _untagged: set[Tag] = field(default_factory=set)  # what this chain was found not to know

    def step(self) -> int:
        """
        Advance by one span and return by how many blocks; 0 means caught up, less than 0 a rewind.

        Raises:
            RetryableError: the chain could not be read, moved meanwhile, or another watcher was faster. Call again.
            ChainMismatchError: not even the start block is in this chain's history.
        """
        tail = self.log.tail()
        cursor = tail[0]
        head = self.chain.head()
        metrics.gauge("head_block", head.number)
        if head.number < cursor.number:
            return self._shorter(tail, head)
        if head.number == cursor.number:
            if head != cursor:
                return self._rewind(tail)
            self._doubt_since_ms = None
            self._release(cursor, head)
            return 0
        last = min(head.number, cursor.number + self.max_span_blocks)
        moved = self._advance(tail, head if last == head.number else self._block(last))
        if moved > 0:
            self._release(self.log.tail()[0], head)
        return moved

    def _advance(self, tail: list[BlockRef], end: BlockRef) -> int:
        cursor = tail[0]
        try:
            events = self.chain.events(cursor.number + 1, end.number)
        except (TooManyLogsError, LogsTruncatedError):
            if end.number == cursor.number + 1:
                raise
            return self._advance(tail, self._block((cursor.number + 1 + end.number) // 2))
        cursor_now, end_now = self.chain.blocks([cursor.number, end.number])
        if cursor_now != cursor:
            return self._rewind(tail)
        if end_now != end:
            raise ChainMovedError("the chain moved while it was read")
        self._doubt_since_ms = None
        now_ms = self.now_ms()
        new = self.log.advance(cursor, end, events, now_ms, now_ms + self.wake_again_after_ms)
        if new:
            self.wake(new)
        return end.number - cursor.number

    def _release(self, cursor: BlockRef, head: BlockRef) -> None:
        """Wake the requests that have become final enough."""
        awaited = {finality.tag for finality in self.log.awaited()}
        if not awaited:
            return
        safe, finalized = (self._height(tag) if tag in awaited else None for tag in ("safe", "finalized"))
        heights = Heights(head.number, safe, finalized)
        while new := self.log.release(cursor, heights, self.now_ms() + self.wake_again_after_ms):
            self.wake(new)

    def _height(self, tag: Tag) -> int | None:
        try:
            number = self.chain.head(tag).number
        except (RpcError, NodeBehindError) as error:
            if tag not in self._untagged:
                _LOG.warning("requests wait for a %s block, and the node names none: %s", tag, error)
                self._untagged.add(tag)
            return None
        self._untagged.discard(tag)
        return number

    def _shorter(self, tail: list[BlockRef], head: BlockRef) -> int:
        """
        The chain ends before the cursor. If it is ours as far as it goes, it is behind: wait, but not for ever.

        Raises:
            NodeBehindError: wait.
        """
        known = next((block for block in tail if block.number <= head.number), None)
        is_ours = known is None or known in (head, *self.chain.blocks([known.number]))
        if is_ours and not self._has_been_said_for_long():
            raise NodeBehindError(f"the chain ends at block {head.number}, before block {tail[0].number} that we read")
        return self._rewind(tail)

    def _has_been_said_for_long(self) -> bool:
        """Whether the chain has contradicted us since `believe_after_ms`: a node may be wrong for a moment."""
        now_ms = self.now_ms()
        self._doubt_since_ms = now_ms if self._doubt_since_ms is None else self._doubt_since_ms
        return now_ms - self._doubt_since_ms >= self.believe_after_ms

    def _rewind(self, tail: list[BlockRef]) -> int:
        """
        Go back to the newest block of `tail` that the chain still has.

        Raises:
            ChainMovedError: it has none of them. Ask again.
            ChainMismatchError: and that has been so for a while.
        """
        for first in range(0, len(tail), _ANCESTORS_PER_CALL):
            known = tail[first : first + _ANCESTORS_PER_CALL]
            blocks = self.chain.blocks([block.number for block in known], by_majority=True)
            for block, now in zip(known, blocks, strict=True):
                if now == block:
                    self._doubt_since_ms = None
                    if block == tail[0]:
                        return 0
                    self.log.rewind(tail[0], block)
                    return block.number - tail[0].number
        start = tail[-1]
        if not self._has_been_said_for_long():
            raise ChainMovedError(f"the node has none of the blocks that we read since block {start.number}")
        raise ChainMismatchError(
            f"block {start.number} {hex_of(start.hash)}, where this pool began, is not in the node's history: the "
            "chain was "
            "restarted without its state or is another one; go back to the old chain, or deploy again with a new "
            "data_dir"
        )

    def _block(self, number: int) -> BlockRef:
        block = self.chain.blocks([number])[0]
        if block is None:
            raise ChainMovedError(f"block {number} went away while it was read")
        return block
