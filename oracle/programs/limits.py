"""Say how near a run came to each limit, and which one it would meet first if it did more of the same."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.enclave.main import CEILINGS
from oracle.programs.running import Run
from oracle.types.program import Engine, Limits, Manifest
from oracle.types.receipt import Outcome


@dataclass(frozen=True, slots=True)
class Usage:
    """One limit: what was used, what the manifest allows, what pools usually allow at most, and who stops it how."""

    name: str
    used: int
    limit: int
    ceiling: int
    outcome: str

    @property
    def share(self) -> float:
        """Used, as a part of the limit."""
        return self.used / self.limit


def usage(run: Run, manifest: Manifest) -> list[Usage]:
    """Every limit that this run can be held against, in the manifest's order."""
    is_js = manifest.engine is Engine.JS
    used = {
        "fuel": (run.fuel_used, Outcome.OUT_OF_FUEL.name),
        "memory_bytes": (run.trace.peak_memory_bytes, "OUT_OF_MEMORY" if is_js else "memory.grow fails"),
        "wall_time_ms": (round(run.wall_s * 1_000), Outcome.TIMED_OUT.name),
        "input_bytes": (run.input_bytes, Outcome.INPUT_TOO_LARGE.name),
        "output_bytes": (len(run.output) if run.outcome is Outcome.COMPLETED else 0, Outcome.OUTPUT_TOO_LARGE.name),
        "log_bytes": (sum(len(line.encode()) for line in run.logs), "the rest is dropped"),
    }
    return [
        Usage(name, amount, getattr(manifest.limits, name), getattr(CEILINGS, name), outcome)
        for name, (amount, outcome) in used.items()
    ]


def nearest(usages: list[Usage]) -> Usage:
    """The limit of which the largest part is used."""
    return max(usages, key=lambda item: item.share)


def over_ceiling(limits: Limits) -> str | None:
    """One sentence, if pools with the usual ceilings would deny the program."""
    name = limits.exceeding(CEILINGS)
    if name is None:
        return None
    asked, ceiling = getattr(limits, name), getattr(CEILINGS, name)
    return f"limits.{name} is {asked}: pools usually allow {ceiling} and would answer DENIED"
