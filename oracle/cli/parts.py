"""`up` and the parts that it runs: for one machine, or for several of each on several machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from oracle import parts, supervisor
from oracle.cli.context import Context, pass_context


@click.command()
@pass_context
def up(context: Context) -> None:
    """
    Run a whole pool on this machine: broker, enclave, worker, submitter and watcher.

    What dies is restarted; Ctrl-C ends everything. Needs the addresses and the relay key that `adyton doctor` asks for.
    """
    supervisor.run_up(context.settings())


@click.command()
@pass_context
def watcher(context: Context) -> None:
    """Run one watcher: reads the chain's events into the store and wakes the workers."""
    parts.run_watcher(context.settings())


@click.command()
@pass_context
def worker(context: Context) -> None:
    """Run one worker and, unless `enclave_socket` is set, its enclave: executes requests and stores signed receipts."""
    supervisor.run_worker(context.settings())


@click.command()
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Key file of the relay account; by default the first in the settings.",
)
@pass_context
def submitter(context: Context, key: Path | None) -> None:
    """
    Run the submitter of one relay account: sends receipts to the chain.

    Several with different keys work in parallel. Of several with the same key one works and the others stand by: when
    its host is lost, one of them takes over after `relay_lease_s`.
    """
    settings = context.settings()
    parts.run_submitter(settings if key is None else replace(settings, relay_key_file=key, relay_key_files=()))


@click.command()
@pass_context
def enclave(context: Context) -> None:
    """Run one enclave on its socket: programs run and receipts are signed here, and nowhere else."""
    parts.run_enclave(context.settings())
