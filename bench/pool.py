"""
How fast is a whole pool? `scripts/bench pool [--soak-minutes N] [--profile] [--json]`.

Everything is real: Anvil with a block per second, watcher, Celery over the embedded broker, SQLite, a locked enclave
that runs a JavaScript program, the submitter. All of it, and whoever makes the load, shares this machine.

- *ceiling*: what Anvil settles when signed `fulfillBatch` transactions are pushed into it and nothing else runs.
- *sustained*: what the pool settles. In both, the requests are on chain already when the clock starts, so that both
  have the blocks for themselves; in one run, as only their ratio means something elsewhere.
- *under load*: requests arrive all the time, at half of what was sustained: blocks from request to settlement.
- *idle*: from the block with a request, one at a time, to the settling transaction in the node's pool.
- *memory*: of each process while that load goes on, and its slope. `--soak-minutes` makes it long enough to mean much.
- `--profile` samples the pool's processes while it settles, and says in which functions they were.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.ceiling import ceiling
from bench.load import PER_TRANSACTION, Load, created_among, settled_among
from bench.processes import Memory, cpu_of, fitted, pss_kib
from bench.profiles import Shares, profiled
from oracle.devnet import RELAY
from oracle.log import set_up
from oracle.supervisor import running
from oracle.types.ids import Address, hex_of

BLOCKS_ALLOWED: Final = 2
IDLE_MS_ALLOWED: Final = 60.0
RATIO_WANTED: Final = 0.5
_REQUESTS: Final = 20_000
_LOAD_S: Final = 60
_IDLE_ROUNDS: Final = 20
_WARM_REQUESTS: Final = 500
_DRAINED_BLOCKS: Final = 15  # without a settlement
_SAMPLE_S: Final = 5.0
_LOOK_S: Final = 0.002
_NEVER: Final = 10**6  # blocks
_PROFILE_S: Final = 20
_PROFILED: Final = ("watcher", "worker", "submitter", "enclave-0")


@contextmanager
def pool(load: Load) -> Iterator[dict[str, int]]:
    """A pool on the load's chain, warm; its processes by name, and Anvil."""
    settings = replace(load.settings, max_fee_per_gas_gwei=1e6, log_level="WARNING")
    with running(settings) as supervisor:
        begin = load.head()
        load.push(load.requests(_WARM_REQUESTS))
        load.mine_all()
        load.mine_every(1)
        load.await_settled(begin, _WARM_REQUESTS, _DRAINED_BLOCKS)
        yield {**supervisor.pids(), "anvil": load.chain.process.pid}


def sustained(load: Load, count: int, pids: Mapping[str, int]) -> dict[str, Any]:
    """Settle `count` requests that are there already: how many per second, and who used the processor."""
    made = load.head()
    load.mine_at_once()
    load.push(load.requests(count))
    load.mine_all()
    load.mine_every(1)
    begin, before, started = load.head(), cpu_of(pids), time.monotonic()
    last = load.await_settled(begin, count - len(settled_among(load.events(made, begin))), _DRAINED_BLOCKS)
    elapsed, after = time.monotonic() - started, cpu_of(pids)
    return {
        "per_second": load.rate(begin, last),
        "cores": {name: (after[name] - before[name]) / elapsed for name in pids},
    }


def under_load(load: Load, per_second: float, seconds: float, pids: Mapping[str, int]) -> dict[str, Any]:
    """Requests at a steady rate: blocks until each is settled, and the memory of every process."""
    pause_s = PER_TRANSACTION / per_second
    raws = load.requests(int(per_second * seconds))
    samples: dict[str, list[tuple[float, int]]] = {name: [] for name in pids}
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(pids, samples, done))
    begin, started = load.await_blocks(1), time.monotonic()
    sampler.start()
    for number, raw in enumerate(raws):
        time.sleep(max(0.0, started + number * pause_s - time.monotonic()))
        load.push([raw])
    done.set()
    sampler.join()
    count = len(raws) * PER_TRANSACTION
    last = load.await_settled(begin, count, _DRAINED_BLOCKS)
    events = load.events(begin + 1, last)
    settled = settled_among(events)
    waits = sorted(
        settled[request_id].block_number - event.block_number if request_id in settled else _NEVER
        for request_id, event in created_among(events).items()
    )
    return {
        "per_second": len(waits) / (len(raws) * pause_s),
        "within_allowed": sum(wait <= BLOCKS_ALLOWED for wait in waits) / len(waits),
        "p50_blocks": waits[len(waits) // 2],
        "p99_blocks": waits[len(waits) * 99 // 100],
        "most_blocks": waits[-1],
        "memory": {name: fitted(of[len(of) // 5 :]) for name, of in samples.items()},
    }


def _sample(pids: Mapping[str, int], samples: dict[str, list[tuple[float, int]]], done: threading.Event) -> None:
    while True:
        for name, pid in pids.items():
            samples[name].append((time.monotonic(), pss_kib(pid)))
        if done.wait(_SAMPLE_S):
            return


def idle(load: Load, rounds: int) -> list[float]:
    """Milliseconds from the block with a request to the transaction that settles it, one request at a time."""
    relay, found = hex_of(Address(RELAY.address)), []
    calls = [("eth_blockNumber", ()), ("eth_getTransactionCount", (relay, "pending"))]
    for raw in load.requests(rounds, per_transaction=1):
        load.await_blocks(2)
        before = int(load.rpc.batch(calls)[1], 16)
        at = load.head()
        load.push([raw])
        mined = None
        while True:
            number, nonce = (int(answer, 16) for answer in load.rpc.batch(calls))
            now = time.monotonic()
            mined = now if mined is None and number > at else mined
            if nonce > before:
                break
            time.sleep(_LOOK_S)
        found.append(1_000 * (now - (mined or now)))
    return found


def measure(count: int, load_s: float, *, is_profiled: bool = False) -> dict[str, Any]:
    """All figures."""
    best = ceiling(count)
    with tempfile.TemporaryDirectory() as name, Load.running(Path(name)) as load, pool(load) as pids:
        waits = idle(load, _IDLE_ROUNDS)
        drained = sustained(load, count, pids)
        loaded = under_load(load, drained["per_second"] / 2, load_s, pids)
        shares: dict[str, Shares] = {}
        if is_profiled:  # apart from the rest, for it costs time itself
            with profiled({part: pids[part] for part in _PROFILED}, _PROFILE_S) as shares:
                sustained(load, int(_PROFILE_S * drained["per_second"]), pids)
    return {
        "ceiling": best,
        "sustained": drained["per_second"],
        "ratio": drained["per_second"] / best,
        "cores": drained["cores"],
        "load": loaded,
        "idle_ms": {"median": statistics.median(waits), "worst": max(waits)},
        "profile": shares,
        "load_average": os.getloadavg(),
    }


def show(figures: Mapping[str, Any]) -> None:
    """Print the tables."""
    load, idle_ms, console = figures["load"], figures["idle_ms"], Console(width=132)
    blocks = ", ".join(str(load[name]) for name in ("p50_blocks", "p99_blocks", "most_blocks"))
    table = Table("a whole pool", "", "wanted", box=None)
    for row in (
        ("ceiling: Anvil alone, signed batches", f"{figures['ceiling']:,.0f} per second", ""),
        ("sustained by the pool", f"{figures['sustained']:,.0f} per second", ""),
        ("ratio", f"{figures['ratio']:.2f}", f"at least {RATIO_WANTED}"),
        (
            f"load of {load['per_second']:,.0f} per second",
            f"{load['within_allowed']:.2%} in {BLOCKS_ALLOWED} blocks",
            "99 %",
        ),
        ("blocks to settlement: half, 99 %, all", blocks, ""),
        ("idle, block to transaction: median", f"{idle_ms['median']:.0f} ms", f"under {IDLE_MS_ALLOWED:.0f} ms"),
        ("idle, block to transaction: worst", f"{idle_ms['worst']:.0f} ms", ""),
    ):
        table.add_row(*row)
    console.print(table)
    parts = Table("process", "cores while settling", "memory under load, MiB", "slope, KiB per minute", box=None)
    for name, cores in figures["cores"].items():
        memory: Memory = load["memory"][name]
        span = f"{memory.first_kib / 1_024:.1f} to {memory.last_kib / 1_024:.1f}"
        parts.add_row(name, f"{cores:.2f}", span, f"{memory.slope_kib_per_minute:+,.0f}")
    console.print(parts)
    for name, shares in figures["profile"].items():
        profile = Table(name, "share of its time", box=None)
        for function, share in shares:
            profile.add_row(function, f"{share:.0%}")
        console.print(profile)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print tables, or JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench pool")
    parser.add_argument("--requests", type=int, default=_REQUESTS, help="of ceiling and pool, each")
    parser.add_argument("--load-seconds", type=float, default=_LOAD_S)
    parser.add_argument("--soak-minutes", type=float, default=0.0, help="how long the load goes on, if longer")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    set_up(level="WARNING")
    load_s = max(given.load_seconds, 60 * given.soak_minutes)
    figures = measure(given.requests, load_s, is_profiled=given.profile)
    if given.json:
        print(json.dumps(figures, default=asdict))
    else:
        show(figures)


if __name__ == "__main__":
    main()
