"""`collateral sync` and `collateral show`: what the verifier on chain has to know before quotes verify there."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from oracle.attestation.dcap.onchain import DEFAULT_MARGIN_S, Bundle, Document, Held, is_usable, steps
from oracle.attestation.dcap.quote import Quote, parse_quote
from oracle.attestation.sources import CollateralSource, open_source
from oracle.chain.dcap import DcapOnChain, bring
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import JsonRpc
from oracle.cli.attestation import read_evidence
from oracle.cli.context import Context, account, address, connect, pass_context, print_json
from oracle.config import Settings
from oracle.errors import ConfigurationError, EnclaveError, RetryableError
from oracle.jobs.enclave_client import EnclaveClient
from oracle.types.ids import ZERO_ADDRESS
from oracle.wiring import enclave_sockets

_DAY_S = 24 * 3600
_SOURCE = click.option(
    "--source", metavar="intel|URL|DIR", help="Where collateral comes from. Default: the setting `collateral_source`."
)
_QUOTE = click.option(
    "--quote",
    "quote_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A whole quote of the machine. Default: the enclave that runs here is asked for one.",
)


@click.group()
def collateral() -> None:
    """Collateral of SGX and TDX machines on chain. Pools keep their own fresh; anyone may bring it."""


@collateral.command()
@_SOURCE
@_QUOTE
@click.option("--margin", "margin_days", type=click.FloatRange(0), default=DEFAULT_MARGIN_S / _DAY_S, metavar="DAYS",
              show_default=True, help="Bring newer documents this long before the old ones end.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@pass_context
def sync(context: Context, source: str | None, quote_file: Path | None, *, margin_days: float, as_json: bool) -> None:
    """
    Bring to the chain whatever it lacks for verifying quotes of one machine.

    Nothing is sent if nothing is missing. The account in `account_key_file` pays.
    """
    settings = context.settings()
    rpc = connect(settings)
    verifier, now_s = _verifier(settings, rpc), _chain_time_s(settings, rpc)
    bundle = _bundle(settings, source, quote_file, now_s)
    sent = bring(account(settings, rpc), verifier, bundle, now_s, int(margin_days * _DAY_S))
    held = verifier.held(bundle)
    if as_json:
        print_json({"sent": [{"function": name, "gas": gas} for name, gas in sent], **_described(bundle, held, now_s)})
    else:
        for name, gas in sent:
            click.echo(f"{name:24} {gas:>9,} gas")
        _print(bundle, held, now_s)
    if not is_usable(held, now_s):
        raise ConfigurationError("the chain still cannot verify this machine's quotes: the source has nothing current")


@collateral.command()
@_SOURCE
@_QUOTE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@pass_context
def show(context: Context, source: str | None, quote_file: Path | None, *, as_json: bool) -> None:
    """Say what the chain has for one machine, until when it counts, and what `sync` would send."""
    settings = context.settings()
    rpc = connect(settings)
    now_s = _chain_time_s(settings, rpc)
    bundle = _bundle(settings, source, quote_file, now_s)
    held = _verifier(settings, rpc).held(bundle)
    if as_json:
        print_json(_described(bundle, held, now_s))
    else:
        _print(bundle, held, now_s)


def _verifier(settings: Settings, rpc: JsonRpc) -> DcapOnChain:
    reader = ChainReader(rpc, settings.chain_id, address(settings, "coprocessor"))
    return DcapOnChain.of_registry(reader, address(settings, "enclave_registry"))


def _chain_time_s(settings: Settings, rpc: JsonRpc) -> int:
    head = ChainReader(rpc, settings.chain_id, address(settings, "coprocessor")).head()
    return max(head.timestamp_s, int(time.time()))


def _bundle(settings: Settings, source: str | None, quote_file: Path | None, now_s: int) -> Bundle:
    opened: CollateralSource = open_source(source or settings.collateral_source)
    quote = _own_quote(settings) if quote_file is None else parse_quote(read_evidence(quote_file))
    return Bundle.of(quote, opened.collateral(quote, now_s))


def _own_quote(settings: Settings) -> Quote:
    client = EnclaveClient(enclave_sockets(settings)[0], connect_within_s=0.5)
    try:
        return parse_quote(client.attest(settings.chain_id, ZERO_ADDRESS, ZERO_ADDRESS, bytes(32)))
    except (EnclaveError, RetryableError) as error:
        raise ConfigurationError(f"no enclave here gives a quote ({error}): name one with --quote") from error


def _documents(held: Held) -> dict[str, Document]:
    return {
        "root_crl": held.root_crl,
        "pck_crl": held.pck_crl,
        "tcb_info": held.tcb_info,
        "qe_identity": held.qe_identity,
    }


def _described(bundle: Bundle, held: Held, now_s: int) -> dict[str, Any]:
    return {
        "usable": is_usable(held, now_s),
        "pck_id": bundle.pck_id,
        "fmspc": bundle.identity.fmspc.hex(),
        "has_pck": held.has_pck,
        "missing": [step.function for step in steps(bundle, held, now_s)],
        **{name: {"valid_until_s": it.valid_until_s, "number": it.number} for name, it in _documents(held).items()},
    }


def _print(bundle: Bundle, held: Held, now_s: int) -> None:
    click.echo(
        f"{'machine':24} {'known' if held.has_pck else 'unknown'}, {bundle.kind.name} {bundle.identity.fmspc.hex()}"
    )
    for name, document in _documents(held).items():
        end = datetime.fromtimestamp(document.valid_until_s, UTC).strftime("%Y-%m-%d %H:%M")
        click.echo(f"{name.replace('_', ' '):24} {f'until {end}' if document.valid_until_s else 'none'}")
    missing = ", ".join(step.function for step in steps(bundle, held, now_s))
    click.echo(f"{'sync would send':24} {missing or 'nothing'}")
