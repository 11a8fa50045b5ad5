"""
Follow what happens to requests, from a block on, through reorganisations, and again after a restart.

The reading is the pool's own (`oracle.chain.watcher`): bounded spans, block hashes re-checked, a node that lags waited
for. What is delivered and then removed by a reorganisation is delivered again as `Undone`, the newest first. Whoever
asks for confirmations gets fewer of those, later.

    ChainReader ──> Watcher.step ──> _Journal (in memory) ──> Stream.step ──> one item at a time

A cursor covers an item when the next one is asked for, so after a crash some items come twice, and none is missed.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from oracle.attestation import strict_json
from oracle.chain.errors import ChainMovedError
from oracle.chain.watcher import Chain, Watcher
from oracle.client.errors import CursorLostError
from oracle.client.patience import Patience
from oracle.errors import ChainMismatchError, EncodingError, RetryableError
from oracle.types.block import BlockRef, Created, Event
from oracle.types.finality import Finality, Heights, Tag
from oracle.types.ids import Address, PoolId, ProgramId, RequestId, hex_of, parse_hex

MAX_REMEMBERED_BLOCKS: Final = 256  # a reorganisation within them is delivered as `Undone`
MAX_OPEN: Final = 1 << 20
_MAX_INTEGER: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Undone:
    """A reorganisation removed this event, which was delivered before. It may come again."""

    event: Event


Item = Event | Undone


@dataclass(frozen=True, slots=True)
class Filter:
    """Whose events; None is anybody's. The end of a request belongs to whoever its creation does."""

    consumer: Address | None = None
    program_id: ProgramId | None = None
    pool_id: PoolId | None = None

    @property
    def is_for_all(self) -> bool:
        """Whether nothing is left out."""
        return self == Filter()

    def takes(self, created: Created) -> bool:
        """Whether the request is among those wanted."""
        request = created.request
        wanted = (self.consumer, self.program_id, self.pool_id)
        actual = (request.consumer, request.program_id, request.pool_id)
        return all(choice in (None, value) for choice, value in zip(wanted, actual, strict=True))


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    Everything up to `block` was delivered. `open` are the filter's requests whose end was not: without them nobody
    could tell, after a restart, whose later ends are.
    """

    block: BlockRef
    open: frozenset[RequestId] = frozenset()

    def json(self) -> str:
        """As text to keep."""
        block = {"number": self.block.number, "hash": hex_of(self.block.hash), "timestamp_s": self.block.timestamp_s}
        return json.dumps({"block": block, "open": sorted(map(hex_of, self.open))})

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """
        From such text.

        Raises:
            EncodingError: it is something else.
        """
        members = strict_json.parse(text, "a cursor")
        block = members.child("block")
        number, at_s = (block.integer(name, _MAX_INTEGER) for name in ("number", "timestamp_s"))
        ids = members.values("open", MAX_OPEN)
        if not all(isinstance(item, str) for item in ids):
            raise EncodingError("a cursor's open requests are 0x… text")
        return cls(
            BlockRef(number, parse_hex(block.text("hash"), 32, "hash"), at_s),
            frozenset(RequestId(parse_hex(item, 32, "request id")) for item in ids),
        )


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A chain as it was so many blocks ago, yet not before `first`: a cursor may come from nearer the head."""

    chain: Chain
    confirmations: int
    first: int

    def head(self, tag: Tag = "latest") -> BlockRef:
        """The newest block that has the confirmations."""
        head = self.chain.head(tag)
        number = max(head.number - self.confirmations, min(self.first, head.number))
        block = self.chain.blocks([number])[0] if self.confirmations else head
        if block is None:
            raise ChainMovedError("the chain became shorter while it was read")
        return block

    def blocks(self, numbers: Sequence[int], *, by_majority: bool = False) -> list[BlockRef | None]:
        """As `oracle.chain.watcher.Chain`."""
        return self.chain.blocks(numbers, by_majority=by_majority)

    def events(self, first: int, last: int) -> Sequence[Event]:
        """As `oracle.chain.watcher.Chain`."""
        return self.chain.events(first, last)


@dataclass(slots=True)
class _Journal:
    """`oracle.chain.watcher.Log` in memory: where the cursor stood, and what was delivered since."""

    filter: Filter
    blocks: list[BlockRef]  # newest first
    open: set[RequestId]
    events: list[Event] = field(default_factory=list)  # after the oldest of `blocks`: what can still be undone
    news: deque[Item] = field(default_factory=deque)

    def tail(self) -> list[BlockRef]:
        return list(self.blocks)

    def advance(
        self,
        expected: BlockRef,  # noqa: ARG002  # nobody else moves it
        cursor: BlockRef,
        events: Sequence[Event],
        now_ms: int,  # noqa: ARG002  # nothing is late here
        due_at_ms: int,  # noqa: ARG002
    ) -> list[RequestId]:
        wanted = [event for event in events if self._is_wanted(event)]
        self.news.extend(wanted)
        self.events.extend(wanted)
        self.blocks.insert(0, cursor)
        del self.blocks[MAX_REMEMBERED_BLOCKS:]
        oldest = self.blocks[-1].number
        if self.events and self.events[0].block_number <= oldest:
            self.events = [event for event in self.events if event.block_number > oldest]
        return []

    def awaited(self) -> set[Finality]:
        return set()

    def release(self, expected: BlockRef, heights: Heights, due_at_ms: int) -> list[RequestId]:  # noqa: ARG002
        return []

    def rewind(self, expected: BlockRef, ancestor: BlockRef) -> None:  # noqa: ARG002
        undone = [event for event in self.events if event.block_number > ancestor.number]
        for event in reversed(undone):
            self.news.append(Undone(event))
            self._forget(event)
        self.events = [event for event in self.events if event.block_number <= ancestor.number]
        self.blocks = [block for block in self.blocks if block.number <= ancestor.number]

    def _is_wanted(self, event: Event) -> bool:
        if self.filter.is_for_all:
            return True
        if isinstance(event, Created):
            if self.filter.takes(event):
                self.open.add(event.request_id)
                return True
            return False
        is_ours = event.request_id in self.open
        self.open.discard(event.request_id)
        return is_ours

    def _forget(self, event: Event) -> None:
        if self.filter.is_for_all:
            return
        if isinstance(event, Created):
            self.open.discard(event.request_id)
        else:
            self.open.add(event.request_id)


def _wake_nobody(new: Sequence[RequestId]) -> None:
    """Nobody works here."""


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class End(Enum):
    """What a stream gives after its last item."""

    END = "end"


class Stream:
    """Items one by one. `step` never waits; iterating does (`oracle.client.following`)."""

    def __init__(self, chain: Chain, wanted: Filter, start: Cursor, *, until_head: bool = False) -> None:
        """Of what `wanted` lets through after `start`; with `until_head` it ends where the chain ends now."""
        self._journal = _Journal(wanted, [start.block], set(start.open))
        self._watcher = Watcher(chain, self._journal, _wake_nobody, _now_ms)
        self._cursor = start
        self._patience = Patience()
        self._until_head = until_head

    @property
    def cursor(self) -> Cursor:
        """Where to begin after a restart: everything up to there was delivered, and asked past."""
        return self._cursor

    def step(self) -> Item | End | None:
        """
        The next item, or `End`, or None if there is none now.

        Raises:
            CursorLostError: a reorganisation went deeper than what is remembered, or the cursor is of another history.
            RetryableError: the chain cannot be read, for a minute now.
        """
        journal = self._journal
        while not journal.news:
            self._cursor = Cursor(journal.blocks[0], frozenset(journal.open))
            try:
                has_moved = self._watcher.step() != 0
            except RetryableError as error:
                self._patience.failed(error)
                return None
            except ChainMismatchError as error:
                raise CursorLostError(
                    f"block {self._cursor.block.number} {hex_of(self._cursor.block.hash)} left the chain, and how far "
                    "back is not known: begin again at an earlier block"
                ) from error
            self._patience.succeeded()
            if not has_moved:
                return End.END if self._until_head else None
        return journal.news.popleft()
