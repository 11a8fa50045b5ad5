"""`up` and the parts that it runs: for one machine, or for several of each on several machines."""

from __future__ import annotations

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
@pass_context
def submitter(context: Context) -> None:
    """Run the submitter of one relay account: sends receipts to the chain. One per account, it owns the nonce."""
    parts.run_submitter(context.settings())


@click.command()
@pass_context
def enclave(context: Context) -> None:
    """Run one enclave on its socket: programs run and receipts are signed here, and nowhere else."""
    parts.run_enclave(context.settings())
