"""
The `adyton` command.

Every expected error ends as one sentence on stderr and exit code 1; wrong usage is click's own, exit code 2. Standard
output carries results only, so that `--json` output can be piped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from oracle.cli.attestation import attestation
from oracle.cli.collateral import collateral
from oracle.cli.context import Context
from oracle.cli.health import doctor, status
from oracle.cli.network import deploy, dev
from oracle.cli.parts import enclave, submitter, up, watcher, worker
from oracle.cli.program import content, program
from oracle.cli.project import build, new, publish, run, test
from oracle.cli.receipt import receipt
from oracle.cli.registry import registry
from oracle.cli.request import request
from oracle.errors import AdytonError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="adyton", message="%(version)s")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Settings file. Default: $ADYTON_CONFIG, else adyton.toml in this directory if there is one.",
)
@click.option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR. Default: the setting, else INFO.")
@click.pass_context
def adyton(context: click.Context, config: Path | None, log_level: str | None) -> None:
    """
    Adyton, a coprocessor for EVM chains: contracts ask, enclaves answer, the chain checks the signature.

    Start with `adyton dev`: a local chain, the contracts and a pool, ready for `adyton program publish` and `adyton
    request` from a second shell. Operators write `adyton.toml`, run `adyton doctor` until it is content, then `adyton
    up`. Every setting can also come from the environment, as ADYTON_ and its name in capitals.
    """
    context.obj = Context(config, log_level)


for command in (
    dev,
    up,
    worker,
    watcher,
    submitter,
    enclave,
    deploy,
    new,
    test,
    run,
    build,
    publish,
    program,
    content,
    request,
    receipt,
    attestation,
    collateral,
    registry,
    status,
    doctor,
):
    adyton.add_command(command)


def main() -> None:
    """Run the command line and turn expected errors into one sentence."""
    try:
        adyton(prog_name="adyton")
    except AdytonError as error:
        click.echo(f"adyton: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
