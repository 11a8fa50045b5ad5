"""
Chaos: everything goes wrong by chance under load, then calm, then the audit.

    python -m tests.faults.chaos --minutes 10 --seed 7              # against `adyton up`
    python -m tests.faults.chaos --minutes 10 --seed 7 --separate   # against the parts of two hosts

The seed decides what is done in which order; when it meets what, the machine decides.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.audit import Report
from tests.faults.load import load
from tests.faults.postgres import PostgreSQL
from tests.faults.troubles import TROUBLES, Trouble
from tests.faults.world import World, a_chain, a_world, ticking

_ANVIL = Path(__file__).parents[2] / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin"
_PAUSE_S = (0.1, 4.0)  # between troubles
_WAITS_S = (15, 120)  # deadlines: some are passed in the midst of it
_BLOCK_TIME_S = 1.0


@dataclass
class Disturbance:
    """What was done."""

    done: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    asked: int = 0
    deaths: int = 0

    def note(self, name: str, what: str) -> None:
        self.done[name] += 1
        self.log.append(what)

    @property
    def kills(self) -> int:
        """Processes killed -9 by us, `killed all` counting each."""
        return sum(
            line.count(",") + 1 if line.startswith("killed all") else line.startswith("killed") for line in self.log
        )


def choices(seed: int, troubles: Mapping[str, tuple[int, Trouble]]) -> Iterator[tuple[str, Trouble]]:
    """What to do next, for ever."""
    chance = random.Random(seed)
    names = sorted(troubles)
    weights = [troubles[name][0] for name in names]
    while True:
        (name,) = chance.choices(names, weights)
        yield name, troubles[name][1]


def disturb(
    world: World,
    seconds: float,
    seed: int,
    *,
    troubles: Mapping[str, tuple[int, Trouble]] = TROUBLES,
    only: Iterable[str] | None = None,
    waits_s: tuple[int, int] = _WAITS_S,
    pause_s: tuple[float, float] = _PAUSE_S,
    say: bool = False,
) -> Disturbance:
    """One trouble after the other under load, for so long; then everything behaves again."""
    made, chance, idle = Disturbance(), random.Random(seed), threading.Event()
    chosen = {name: troubles[name] for name in (troubles if only is None else only)}
    begun = time.monotonic()
    with load(world.chain, seed, waits_s=waits_s) as consumers:
        for name, trouble in choices(seed, chosen):
            what = trouble(world, chance)
            made.note(name, what)
            if say:
                _say(f"{time.monotonic() - begun:7.1f} s  {what}")
            idle.wait(chance.uniform(*pause_s))
            if time.monotonic() - begun > seconds:
                break
    world.proxy.behave()
    made.asked = sum(consumer.asked for consumer in consumers)
    made.deaths = world.keeper.deaths
    return made


def soak(minutes: float, seed: int, *, separate: bool, postgresql: bool, directory: Path) -> tuple[Disturbance, Report]:
    """A whole run, told as it goes."""
    troubles = dict(TROUBLES)
    with (
        a_chain() as chain,
        ticking(chain, _BLOCK_TIME_S),
        PostgreSQL.maybe(directory / "pg", wanted=postgresql) as database,
    ):
        if database is not None:
            troubles["restart database"] = (2, database.restart)
            del troubles["lock database"]
        url = None if database is None else database.url
        with a_world(chain, directory, separate=separate, database_url=url) as world:
            made = disturb(world, minutes * 60, seed, troubles=troubles, say=True)
            _say("calm")
            begun = time.monotonic()
            report = world.settle_down()
            _say(f"all has ended after {time.monotonic() - begun:.1f} s of calm")
            if world.keeper.refusals:
                _say(f"refused to run: {Counter(world.keeper.refusals)}")
            return made, report


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # for whoever started it


def main() -> int:
    """The command line. Exit code 1 if the audit finds anything."""
    parser = argparse.ArgumentParser(description="Chaos against a pool; see the module's docstring.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, which is printed")
    parser.add_argument("--separate", action="store_true", help="each part by itself, on two hosts")
    parser.add_argument(
        "--postgresql", action="store_true", help="the store is a PostgreSQL server, which is restarted"
    )
    parser.add_argument("--keep", action="store_true", help="the directory with the logs of all parts")
    arguments = parser.parse_args()
    os.environ["PATH"] += f"{os.pathsep}{_ANVIL}"
    seed = int.from_bytes(os.urandom(4)) if arguments.seed is None else arguments.seed
    directory = Path(tempfile.mkdtemp(prefix="chaos", dir="/tmp"))
    _say(f"seed {seed}, logs in {directory / 'log'}")
    made, report = soak(
        arguments.minutes, seed, separate=arguments.separate, postgresql=arguments.postgresql, directory=directory
    )
    _say(f"{made.asked} asked, {made.kills} killed, {sum(made.done.values())} troubles: {dict(made.done)}")
    _say(str(report))
    if not report.faults and not arguments.keep:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
