"""`python -m demo [--json] [--keep]`: run the story and show it."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from demo import stack
from demo.story import Row, Story
from oracle.devnet import SETTINGS_FILE
from oracle.errors import AdytonError

_PIPED_WIDTH = 160


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Rain insurance over a real weather record.")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line of standard output")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    options = parser.parse_args()
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    started = time.monotonic()
    try:
        with _stack(console, keep=options.keep) as running:
            with console.status("working"):
                rows = Story(running.settings, lambda line: _step(console, line)).run()
            seconds = time.monotonic() - started
            console.print(_table(rows))
            console.print(f"[bold]signer[/bold] {rows[0].signer}\n[bold]measurement[/bold] {rows[0].measurement}")
            console.print(f"All four requests ended as they should, in {seconds:.1f} s.", style="green")
            if options.keep:
                console.print(f"The stack is still running: export ADYTON_CONFIG={running.directory}/{SETTINGS_FILE}")
                console.print(f"Stop it with: kill {running.process.pid}")
            if options.json:
                print(json.dumps(_document(rows, running, seconds, kept=options.keep)))
    except AdytonError as error:
        console.print(f"[red]demo failed:[/red] {error}", highlight=False)
        return 1
    return 0


@contextlib.contextmanager
def _stack(console: Console, *, keep: bool) -> Iterator[stack.Stack]:
    with console.status("starting chain, contracts, broker, enclave, worker, submitter and watcher"):
        running = stack.start(keep=keep)
    done = False
    try:
        console.print(f"chain {running.settings.rpc_url}, coprocessor {running.settings.coprocessor}, pool ready")
        yield running
        done = True
    finally:
        if not (keep and done):
            running.stop()
            shutil.rmtree(running.directory.parent, ignore_errors=True)


def _step(console: Console, line: str) -> None:
    console.print(f"  {line}", highlight=False)


def _table(rows: list[Row]) -> Table:
    table = Table(title="Requests", title_justify="left")
    for name in ("case", "request", "outcome"):
        table.add_column(name, no_wrap=True)
    for name in ("fuel", "fee, gwei", "gas to ask", "gas to settle", "ms", "blocks"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("signer", "measurement"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(
            row.case,
            row.request_id[:10],
            row.outcome,
            "" if row.fuel is None else f"{row.fuel:,}",
            f"{row.fee_gwei:,.0f}",
            f"{row.gas_request:,}",
            f"{row.gas_fulfill:,}",
            f"{row.latency_ms:,.0f}",
            str(row.latency_blocks),
            (row.signer or "")[:10],
            (row.measurement or "")[:10],
        )
    return table


def _document(rows: list[Row], running: stack.Stack, seconds: float, *, kept: bool) -> dict[str, object]:
    settings = running.settings
    return {
        "ok": True,
        "seconds": round(seconds, 1),
        "requests": [asdict(row) for row in rows],
        "chain_id": settings.chain_id,
        "coprocessor": settings.coprocessor,
        "pool_id": settings.pool_id,
        "signer": rows[0].signer,
        "measurement": rows[0].measurement,
        "kept": {
            "rpc_url": settings.rpc_url,
            "pid": running.process.pid,
            "config": f"{running.directory}/{SETTINGS_FILE}",
        }
        if kept
        else None,
    }


if __name__ == "__main__":
    sys.exit(main())
