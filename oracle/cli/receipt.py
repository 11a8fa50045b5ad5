"""`receipt show` and `receipt verify`: what an enclave signed, read from the chain and checked without a re-run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from oracle.chain.reader import ChainReader
from oracle.chain.rpc import JsonRpc
from oracle.chain.settlement import Delivered, find_end, read_delivery
from oracle.cli.context import Context, address, connect, pass_context, pool, print_json
from oracle.config import Settings
from oracle.crypto.ecdsa import recover
from oracle.crypto.hashing import keccak256
from oracle.errors import AttestationError, ChainError, EncodingError
from oracle.types.block import Settled
from oracle.types.ids import Address, PoolId, RequestId, hex_of, parse_hex
from oracle.types.pool import Pool
from oracle.types.receipt import Outcome, Receipt, batch_digest

_FIELDS = {"request_id": 32, "output_hash": 32, "payee": 20}


@click.group()
def receipt() -> None:
    """Show and verify receipts."""


@receipt.command()
@click.argument("request_id", metavar="REQUEST_ID")
@pass_context
def show(context: Context, request_id: str) -> None:
    """Print the receipt of a settled request as JSON, complete for `adyton receipt verify`."""
    settings = context.settings()
    print_json(_read(settings, connect(settings), RequestId(parse_hex(request_id, 32, "request id"))))


@receipt.command()
@click.argument("receipt_or_id", metavar="FILE|REQUEST_ID")
@click.option("--offline", is_flag=True, help="Check output and signature only; do not ask the chain about the signer.")
@pass_context
def verify(context: Context, receipt_or_id: str, offline: bool) -> None:
    """
    Check a receipt from a file made by `receipt show`, or straight from the chain.

    1. the output hashes to what was signed; 2. the signature recovers to the signer that the receipt names; 3. that
    signer is live in the pool's enclave registry now. Not checked here: that the request was made, which `receipt show`
    reads from the chain, and that the program does what its author says.
    """
    settings = context.settings()
    document = _load(settings, receipt_or_id)
    signer = _check(document)
    click.echo(f"1. output matches its hash      {document['output_hash']}")
    click.echo(f"2. signed by                    {hex_of(signer)}")
    if not offline:
        live_until = _live_until(settings, connect(settings), document, signer)
        click.echo(f"3. live in the registry until   {live_until} (unix seconds)")
    click.echo(f"verified: {document['outcome']} for request {document['request_id']}")


def _read(settings: Settings, rpc: JsonRpc, request_id: RequestId) -> dict[str, Any]:
    coprocessor = address(settings, "coprocessor")
    end = find_end(rpc, settings.chain_id, coprocessor, request_id, settings.start_block)
    if not isinstance(end, Settled):
        state = "is open or unknown" if end is None else "expired"
        raise ChainError(f"request {hex_of(request_id)} {state} on chain {settings.chain_id}, so it has no receipt")
    delivered = read_delivery(rpc, coprocessor, end.transaction_hash)
    at = delivered.position(request_id) if delivered is not None else None
    if delivered is None or at is None:
        raise ChainError(
            f"{hex_of(end.transaction_hash)} settled it through another contract: its calldata is not ours to read"
        )
    return _document(settings, coprocessor, delivered, at) | {
        "block": end.block_number,
        "transaction": hex_of(end.transaction_hash),
        "fee_wei": end.fee_wei,
        "callback_succeeded": end.callback_succeeded,
    }


def _document(settings: Settings, coprocessor: Address, delivered: Delivered, at: int) -> dict[str, Any]:
    digest = _digest(settings.chain_id, coprocessor, delivered.receipts, is_batch=delivered.is_batch)
    return {
        "chain_id": settings.chain_id,
        "coprocessor": hex_of(coprocessor),
        "pool_id": hex_of(delivered.pool_id),
        **_receipt_fields(delivered.receipts[at]),
        "output": hex_of(delivered.outputs[at]),
        "signature": hex_of(delivered.proof),
        "signer": hex_of(recover(digest, delivered.proof)),
        "batch": [_receipt_fields(item) for item in delivered.receipts] if delivered.is_batch else None,
    }


def _receipt_fields(item: Receipt) -> dict[str, Any]:
    return {
        "request_id": hex_of(item.request_id),
        "outcome": item.outcome.name,
        "output_hash": hex_of(item.output_hash),
        "fuel_used": item.fuel_used,
        "payee": hex_of(item.payee),
    }


def _digest(chain_id: int, coprocessor: Address, receipts: tuple[Receipt, ...], *, is_batch: bool) -> bytes:
    return batch_digest(receipts, chain_id, coprocessor) if is_batch else receipts[0].digest(chain_id, coprocessor)


def _load(settings: Settings, receipt_or_id: str) -> dict[str, Any]:
    path = Path(receipt_or_id)
    if not path.exists():
        return _read(settings, connect(settings), RequestId(parse_hex(receipt_or_id, 32, "FILE|REQUEST_ID")))
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise EncodingError(f"{path} is not a receipt: {error}") from error
    if not isinstance(document, dict):
        raise EncodingError(f"{path} is not a receipt: it should be a JSON object")
    return document


def _check(document: dict[str, Any]) -> Address:
    """Steps 1 and 2; returns the signer. Raises `AttestationError` or `EncodingError`."""
    try:
        own = _parse_receipt(document)
        batch = document["batch"]
        receipts = (own,) if batch is None else tuple(_parse_receipt(item) for item in batch)
        chain_id, coprocessor = (
            int(document["chain_id"]),
            Address(parse_hex(document["coprocessor"], 20, "coprocessor")),
        )
        signature, named = (
            parse_hex(document["signature"], 64, "signature"),
            parse_hex(document["signer"], 20, "signer"),
        )
        output = bytes.fromhex(document["output"].removeprefix("0x"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EncodingError(f"this is not a receipt as `adyton receipt show` prints it: {error!r}") from error
    if keccak256(output) != own.output_hash:
        raise AttestationError(
            f"the output hashes to {hex_of(keccak256(output))}, the receipt says {hex_of(own.output_hash)}"
        )
    if own not in receipts:
        raise AttestationError("the receipt is not in the batch that was signed")
    signer = recover(_digest(chain_id, coprocessor, receipts, is_batch=batch is not None), signature)
    if signer != named:
        raise AttestationError(f"the signature is by {hex_of(signer)}, not by the signer named, {hex_of(named)}")
    return Address(signer)


def _parse_receipt(fields: dict[str, Any]) -> Receipt:
    request_id, output_hash, payee = (parse_hex(fields[name], size, name) for name, size in _FIELDS.items())
    return Receipt(
        RequestId(request_id), Outcome[fields["outcome"]], output_hash, int(fields["fuel_used"]), Address(payee)
    )


def _live_until(settings: Settings, rpc: JsonRpc, document: dict[str, Any], signer: Address) -> int:
    """Step 3: until when the pool's verifier accepts the signer."""
    named = Pool.from_id(PoolId(parse_hex(document["pool_id"], 32, "pool_id")))
    if named.verifier != pool(settings).verifier:
        raise AttestationError(f"the receipt is of a pool with the verifier {hex_of(named.verifier)}, not of yours")
    coprocessor = Address(parse_hex(document["coprocessor"], 20, "coprocessor"))
    if (document["chain_id"], coprocessor) != (settings.chain_id, address(settings, "coprocessor")):
        raise AttestationError("the receipt is of another chain or contract than your settings")
    live_until = ChainReader(rpc, settings.chain_id, coprocessor).live_until(named.verifier, signer)
    if live_until == 0:
        raise AttestationError(f"{hex_of(signer)} is not a live signer: never registered, expired or revoked")
    return live_until
