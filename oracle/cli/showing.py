"""How a local run is shown: to people as lines, to programs as one JSON object."""

from __future__ import annotations

from typing import Any

import click

from oracle.errors import ProjectError
from oracle.programs.cases import printable, shown
from oracle.programs.limits import nearest, over_ceiling, usage
from oracle.programs.running import Run
from oracle.programs.values import decode_values
from oracle.types.pool import Pool
from oracle.types.program import Manifest
from oracle.types.receipt import Outcome

_WEI_PER_ETH = 10**18
_MAX_LOG_LINES = 200


def show_run(run: Run, manifest: Manifest, types: tuple[str, ...], pool: Pool | None, *, is_traced: bool) -> None:
    """The output on standard output, everything else on standard error."""
    _say(f"{run.outcome.name}: {run.fuel_used:,} fuel, {run.trace.peak_memory_bytes / 2**20:.1f} MiB of memory, "
         f"{1_000 * run.wall_s:.1f} ms here")  # fmt: skip
    for line in run.logs[:_MAX_LOG_LINES]:
        _say(f"log   {printable(line)}")
    _show_limits(run, manifest)
    if pool is not None:
        _say(f"costs {_cost_wei(run, pool) / _WEI_PER_ETH:.9f} ETH in this pool, callback gas aside")
    _show_calls(run, is_traced=is_traced)
    completed = run.outcome is Outcome.COMPLETED
    click.echo(shown(run.output, types) if completed else printable(run.output.decode("utf-8", "replace")))


def run_as_json(run: Run, manifest: Manifest, types: tuple[str, ...], pool: Pool | None) -> dict[str, Any]:
    """Everything that is known of the run."""
    return {
        "outcome": run.outcome.name,
        "output": run.output,
        "values": _values(run, types),
        "fuel_used": run.fuel_used,
        "peak_memory_bytes": run.trace.peak_memory_bytes,
        "wall_ms": round(1_000 * run.wall_s, 3),
        "logs": run.logs,
        "limits": {
            item.name: {"used": item.used, "limit": item.limit, "usual_ceiling": item.ceiling, "over_it": item.outcome}
            for item in usage(run, manifest)
        },
        "denied_because": over_ceiling(manifest.limits),
        "cost_wei": None if pool is None else _cost_wei(run, pool),
        "calls": run.trace.counts,
        "trace": [
            {"name": call.name, "read": call.bytes_read, "written": call.bytes_written, "fuel": call.fuel}
            for call in run.trace.calls
        ],
    }


def _show_limits(run: Run, manifest: Manifest) -> None:
    usages = usage(run, manifest)
    for item in usages:
        _say(f"limit {item.name:<13}{100 * item.share:7.2f} % of {item.limit:,}, then {item.outcome}")
    near = nearest(usages)
    if run.outcome is Outcome.COMPLETED and near.used:
        _say(f"      {near.name} is the nearest limit: {1 / near.share:,.1f} times as much would stop it")
    denied = over_ceiling(manifest.limits)
    if denied is not None:
        _say(f"      {denied}")


def _show_calls(run: Run, *, is_traced: bool) -> None:
    total = sum(run.trace.counts.values())
    names = ", ".join(f"{name} x{count}" for name, count in run.trace.counts.items())
    _say(f"calls {total} of the host{': ' + names if names else ''}")
    if is_traced:
        for number, call in enumerate(run.trace.calls, 1):
            _say(
                f"{number:5} {call.name}: read {call.bytes_read}, wrote {call.bytes_written} bytes, {call.fuel:,} fuel"
            )
        if total > len(run.trace.calls):
            _say(f"      and {total - len(run.trace.calls)} more")


def _cost_wei(run: Run, pool: Pool) -> int:
    return pool.cost_wei(0, run.fuel_used, len(run.output))


def _values(run: Run, types: tuple[str, ...]) -> list[Any] | None:
    if not types or run.outcome is not Outcome.COMPLETED:
        return None
    try:
        return decode_values(types, run.output)
    except ProjectError:
        return None


def _say(line: str) -> None:
    click.echo(line, err=True)
