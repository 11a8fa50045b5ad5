"""`receipt show` and `receipt verify`: what an enclave signed, read from the chain and checked without a re-run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from oracle.cli.attestation import parse_time
from oracle.cli.context import Context, pass_context
from oracle.client.adyton import Adyton
from oracle.client.connection import bytes_of
from oracle.client.document import ReceiptDocument
from oracle.client.verification import VerifiedReceipt
from oracle.config import Settings
from oracle.errors import ConfigurationError, StoreError
from oracle.store.store import Store
from oracle.types.ids import hex_of
from oracle.types.receipt import NO_CONTEXT
from oracle.types.transcript import parse_transcript


@click.group()
def receipt() -> None:
    """Show and verify receipts."""


@receipt.command()
@click.argument("request_id", metavar="REQUEST_ID")
@click.option("--no-evidence", is_flag=True, help="Leave out what vouches for the signer: then only the chain does.")
@click.option("--json", is_flag=True, expose_value=False, help="It is JSON in any case.")
@pass_context
def show(context: Context, request_id: str, *, no_evidence: bool) -> None:
    """
    Print the receipt of a settled request as JSON, with all that `adyton receipt verify --offline` needs.

    The vendor's collateral comes from `collateral_source`. What the run fetched is not on the chain, only its hash: the
    transcript is there if the store of this pool has it.
    """
    settings = context.settings()
    with Adyton.from_settings(settings) as adyton:
        document = adyton.receipt(bytes_of(request_id, 32, "request id"), with_evidence=not no_evidence)
    click.echo(_with_transcript(settings, document).json())


@receipt.command()
@click.argument("receipt_or_id", metavar="FILE|REQUEST_ID")
@click.option("--offline", is_flag=True, help="Believe the evidence in the file, not the chain. Needs --measurement.")
@click.option("--measurement", "measurements", multiple=True, metavar="0x…", help="A build to trust. Repeatable.")
@click.option(
    "--root", type=click.Path(path_type=Path), help="Trust this certificate in place of the vendors' roots. Insecure."
)
@click.option("--at", metavar="TIME", help="Judge evidence as of this time: 2025-07-01T12:00:00Z or unix seconds.")
@pass_context
def verify(
    context: Context,
    receipt_or_id: str,
    *,
    offline: bool,
    measurements: tuple[str, ...],
    root: Path | None,
    at: str | None,
) -> None:
    """
    Check a receipt from a file made by `receipt show`, or straight from the chain.

    Always: it is of your chain and contract, its request id commits to program and input, its output (and transcript of
    what was fetched, if it has one) is the one that was signed, by the signer that it names. Then about the signer:
    without --offline, that the pool's registry counts it now; with --measurement, that genuine hardware vouches for it
    in a build that you trust. Not checked: that the program does what its author says.
    """
    with Adyton.from_settings(context.settings()) as adyton:
        document = _load(adyton, receipt_or_id, with_evidence=bool(offline or measurements))
        found = adyton.verify(
            document,
            trusted_measurements=measurements or None,
            root=None if root is None else _read(root),
            at_s=None if at is None else parse_time(at),
            offline=offline,
        )
    _print(found, document)


def _with_transcript(settings: Settings, document: ReceiptDocument) -> ReceiptDocument:
    if document.receipt.context == NO_CONTEXT:
        return document
    try:
        with Store.open(settings.database) as store:
            stored = store.requests.receipt(document.receipt.request_id)
    except (StoreError, ConfigurationError):
        return document
    return document if stored is None else replace(document, transcript=parse_transcript(stored.transcript))


def _print(found: VerifiedReceipt, document: ReceiptDocument) -> None:
    click.echo(f"request commits to program   {hex_of(found.request.program_id)}")
    click.echo(f"output matches its hash      {hex_of(found.receipt.output_hash)}")
    if document.transcript is not None:
        click.echo(f"transcript matches its hash  {len(document.transcript)} HTTP requests")
    elif found.receipt.context != NO_CONTEXT:
        click.echo(f"fetched, not shown here      {hex_of(found.receipt.context)}")
    click.echo(f"signed by                    {hex_of(found.signer)}")
    if found.attestation is not None:
        click.echo(f"attested in the build        {hex_of(found.attestation.measurement)}")
    if found.live_until_s is not None:
        click.echo(f"live in the registry until   {found.live_until_s} (unix seconds)")
    click.echo(f"verified: {found.outcome.name} for request {hex_of(found.receipt.request_id)}")


def _load(adyton: Adyton, receipt_or_id: str, *, with_evidence: bool) -> ReceiptDocument:
    path = Path(receipt_or_id)
    if path.exists():
        return ReceiptDocument.parse(_read(path))
    return adyton.receipt(bytes_of(receipt_or_id, 32, "FILE|REQUEST_ID"), with_evidence=with_evidence)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
