"""
Turn chain events into stored requests.

Events and cursor are committed together, so a crash costs a repeated read, never a lost or doubled request. What is
read is used only if the blocks at both ends still have their hashes afterwards. A block under the cursor whose hash
changed rewinds the cursor to the newest block that both histories share. The queue is only a wake-up call: if `wake`
is lost, the sweeper finds the request in the store.

    reader ──> Watcher.step ──> log (store) ──> wake ──> jobs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from oracle.chain.errors import ChainMovedError, TooManyLogsError
from oracle.errors import ChainMismatchError
from oracle.types.block import BlockRef, Event
from oracle.types.ids import RequestId, hex_of

_ANCESTORS_PER_CALL = 32


class Chain(Protocol):
    """What the watcher needs of a chain. Every method may raise `RetryableError`."""

    def head(self) -> BlockRef:
        """The newest block."""
        ...

    def blocks(self, numbers: Sequence[int]) -> list[BlockRef | None]:
        """The blocks with these numbers, None where there is none."""
        ...

    def events(self, first: int, last: int) -> Sequence[Event]:
        """All events of these blocks, in order. Raises `TooManyLogsError` if there are too many for one answer."""
        ...


class Log(Protocol):
    """What the watcher needs of the store. `advance` and `rewind` refuse a cursor that somebody else moved."""

    def tail(self) -> list[BlockRef]:
        """Blocks that the cursor stood on, newest first: the first is the cursor, the last the start."""
        ...

    def advance(
        self, expected: BlockRef, cursor: BlockRef, events: Sequence[Event], now_ms: int, due_at_ms: int
    ) -> list[RequestId]:
        """Store events and cursor; returns what is new and open."""
        ...

    def rewind(self, expected: BlockRef, ancestor: BlockRef) -> None:
        """Undo what came after `ancestor`."""
        ...


@dataclass(frozen=True, slots=True)
class Watcher:
    """Moves the cursor towards the head. Holds no state of its own."""

    chain: Chain
    log: Log
    wake: Callable[[RequestId], None]
    now_ms: Callable[[], int]
    confirmations: int = 0
    max_span_blocks: int = 1_000  # per eth_getLogs call
    wake_again_after_ms: int = 5_000  # then the sweeper takes over

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
        last = min(head.number - self.confirmations, cursor.number + self.max_span_blocks)
        if last > cursor.number:
            end = head if last == head.number else self._block(last)
            return self._advance(tail, end)
        if self.chain.blocks([cursor.number])[0] != cursor:
            return self._rewind(tail)
        return 0

    def _advance(self, tail: list[BlockRef], end: BlockRef) -> int:
        cursor = tail[0]
        try:
            events = self.chain.events(cursor.number + 1, end.number)
        except TooManyLogsError:
            if end.number == cursor.number + 1:
                raise
            return self._advance(tail, self._block((cursor.number + 1 + end.number) // 2))
        cursor_now, end_now = self.chain.blocks([cursor.number, end.number])
        if cursor_now != cursor:
            return self._rewind(tail)
        if end_now != end:
            raise ChainMovedError("the chain moved while it was read")
        now_ms = self.now_ms()
        for request_id in self.log.advance(cursor, end, events, now_ms, now_ms + self.wake_again_after_ms):
            self.wake(request_id)
        return end.number - cursor.number

    def _rewind(self, tail: list[BlockRef]) -> int:
        """Go back to the newest block of `tail` that the chain still has."""
        for first in range(0, len(tail), _ANCESTORS_PER_CALL):
            known = tail[first : first + _ANCESTORS_PER_CALL]
            for block, now in zip(known, self.chain.blocks([block.number for block in known]), strict=True):
                if now == block:
                    if block == tail[0]:
                        return 0
                    self.log.rewind(tail[0], block)
                    return block.number - tail[0].number
        start = tail[-1]
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
