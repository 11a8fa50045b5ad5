"""
How fast a backlog is read: logs as a node gives them, decoded, stored and announced to the queue, then taken fairly.

    scripts/bench backlog [--events N] [--consumers N] [--database URL] [--json]

The node is replaced by a list of its answers; decoding, watcher, store and broker are the real ones. Every figure is of
one process on one core, with whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from oracle.broker import CeleryQueue, _server_binary, celery_app, is_listening
from oracle.chain.contracts import CREATED, decode_event
from oracle.chain.watcher import Watcher
from oracle.config import Settings
from oracle.crypto.hashing import keccak256
from oracle.store.rows import Identity
from oracle.store.store import Store
from oracle.types.block import BlockRef, Event
from oracle.types.finality import Tag
from oracle.types.ids import Address, PoolId, ProgramId, hex_of
from oracle.types.request import Request

CHAIN_ID = 31_337
COPROCESSOR = Address(b"\xc0" * 20)
_NOW_S = 1_700_000_000
_INPUT = bytes(range(64))
_PER_BLOCK = 20
_TAKES = 200
_BATCH = 16
TARGET = 2_000  # events per second


def raw_log(number: int, consumers: int) -> dict[str, Any]:
    """`RequestCreated` as `eth_getLogs` answers it."""
    consumer = Address(keccak256(b"%d" % (number % consumers))[:20])
    request = Request(
        chain_id=CHAIN_ID,
        coprocessor=COPROCESSOR,
        consumer=consumer,
        program_id=ProgramId(b"\x0a" * 32),
        pool_id=PoolId(b"\x0b" * 32),
        input_hash=keccak256(_INPUT),
        nonce=number,
        created_at_s=_NOW_S,
        deadline_s=4_000_000_000 + number % 997,
        callback_gas=100_000,
        max_fee_gwei=1_000_000,
    )
    body = request.program_id + b"".join(value.to_bytes(32, "big") for value in (request.terms, 96, len(_INPUT)))
    return {
        "address": hex_of(COPROCESSOR),
        "topics": [hex_of(topic) for topic in (CREATED, request.request_id, request.pool_id, bytes(12) + consumer)],
        "data": hex_of(body + _INPUT),
        "blockNumber": hex(1 + number // _PER_BLOCK),
        "transactionHash": hex_of(keccak256(b"t%d" % number)),
    }


@dataclass
class RecordedChain:
    """`oracle.chain.watcher.Chain` over logs that are there already."""

    logs: Sequence[dict[str, Any]]

    def head(self, tag: Tag = "latest") -> BlockRef:
        """The last block with a log; every tag is the same."""
        del tag
        return _block(-(-len(self.logs) // _PER_BLOCK))

    def blocks(self, numbers: Sequence[int], *, by_majority: bool = False) -> list[BlockRef | None]:
        """All of them exist."""
        del by_majority
        return [_block(number) for number in numbers]

    def events(self, first: int, last: int) -> list[Event]:
        """Decoded as `ChainReader` does."""
        return [decode_event(log, CHAIN_ID) for log in self.logs[(first - 1) * _PER_BLOCK : last * _PER_BLOCK]]


def _block(number: int) -> BlockRef:
    return BlockRef(number, keccak256(b"%d" % number), _NOW_S + number)


@contextmanager
def broker(directory: Path) -> Iterator[CeleryQueue]:
    """The embedded broker."""
    path = directory / "valkey.sock"
    command = [str(_server_binary()), "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not is_listening(path):
            time.sleep(0.01)
        yield CeleryQueue(celery_app(Settings(broker_url=f"redis+socket://{path}", coprocessor=hex_of(COPROCESSOR))))
    finally:
        process.terminate()
        process.wait()


def _per_second(count: int, action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return count / (time.perf_counter() - started)


def measure(events: int, consumers: int, database: str | None, span_blocks: int) -> dict[str, float]:
    """Figures by name."""
    logs = [raw_log(number, consumers) for number in range(events)]
    with (
        tempfile.TemporaryDirectory() as name,
        broker(Path(name)) as queue,
        Store.open(database or f"sqlite:///{name}/pool.sqlite", create=True) as store,
    ):
        store.chain.adopt(Identity(CHAIN_ID, COPROCESSOR, _block(0)))
        chain = RecordedChain(logs)
        watcher = Watcher(
            chain,
            store.chain,
            lambda new: queue.execute(len(new)),
            lambda: _NOW_S * 1_000,
            max_span_blocks=span_blocks,
        )
        read = _per_second(events, lambda: _catch_up(watcher))
        deepest = queue.depth("execute")
        taken = _per_second(_BATCH * _TAKES, lambda: _take(store))
        decoded = _per_second(events, lambda: chain.events(1, events))
    return {"decoded": decoded, "read_stored_queued": read, "taken": taken, "messages": deepest}


def _catch_up(watcher: Watcher) -> None:
    while watcher.step() > 0:
        pass


def _take(store: Store) -> None:
    """As workers do, who finish what they took: it leaves the index."""
    for number in range(_TAKES):
        taken = store.turns.take("bench", _BATCH, _NOW_S * 1_000 + number, 60_000)
        for item in taken:
            store.requests.fail(item.request_id, "bench")


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench backlog")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--consumers", type=int, default=100)
    parser.add_argument("--span-blocks", type=int, default=1_000)
    parser.add_argument("--database", help="an empty database; a new SQLite file if left out")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.events, given.consumers, given.database, given.span_blocks)
    if given.json:
        print(json.dumps({name: round(value, 1) for name, value in figures.items()}))
        return
    table = Table("a backlog of events", "per second", box=None)
    table.add_row("decoded", f"{figures['decoded']:,.0f}")
    table.add_row(f"read, stored and queued (at least {TARGET:,})", f"{figures['read_stored_queued']:,.0f}")
    table.add_row(f"taken fairly, {_BATCH} at a time, and finished", f"{figures['taken']:,.0f}")
    table.add_row("messages that wait then", f"{figures['messages']:.0f} in all")
    Console().print(table)


if __name__ == "__main__":
    main()
