"""`request`: ask for one computation from the command line, wait, and show the output."""

from __future__ import annotations

import time
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from oracle.chain.contracts import decode_event
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import JsonRpc
from oracle.chain.settlement import find_end, read_delivery
from oracle.cli.context import Context, account, address, connect, pass_context, pool, print_json
from oracle.config import Settings
from oracle.errors import ConfigurationError, EncodingError, LimitExceededError, RetryableError
from oracle.types.block import Created, Expired, Settled
from oracle.types.ids import ProgramId, RequestId, hex_of, parse_hex
from oracle.types.pool import GWEI
from oracle.types.program import Limits, Manifest
from oracle.types.receipt import Outcome

POLL_S = 0.05
_WEI_PER_ETH = 10**18


class Ether(click.ParamType[int]):
    """An amount of ETH on the command line, as wei inside."""

    name = "ETH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse a decimal number of ETH into whole gwei, in wei."""
        try:
            wei = Decimal(str(value)) * _WEI_PER_ETH
        except InvalidOperation:
            self.fail(f"{value!r} is not a number of ETH", param, ctx)
        if wei < 0 or wei % GWEI:
            self.fail(f"{value} ETH is not a whole number of gwei", param, ctx)
        return int(wei)


@click.command()
@click.argument("program_id", metavar="PROGRAM_ID")
@click.option("--input", "input_hex", metavar="HEX", help="Input as 0x… bytes.")
@click.option("--input-text", metavar="TEXT", help="Input as UTF-8 text.")
@click.option("--input-file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Input from a file.")
@click.option(
    "--fee", "fee_wei", type=Ether(), help="Most to pay. Default: enough for all that the program's manifest allows."
)
@click.option("--timeout", "timeout_s", type=click.IntRange(1), default=300, show_default=True,
              help="Seconds until the request expires and is refunded.")  # fmt: skip
@click.option("--callback-gas", type=click.IntRange(0), default=0, help="Only useful if the account is a contract.")
@click.option("--no-wait", is_flag=True, help="Print the request id and return.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@pass_context
def request(
    context: Context,
    program_id: str,
    input_hex: str | None,
    input_text: str | None,
    input_file: Path | None,
    fee_wei: int | None,
    timeout_s: int,
    callback_gas: int,
    no_wait: bool,
    as_json: bool,
) -> None:
    """
    Request one run of PROGRAM_ID, wait until it is settled or expires, and print its output.

    The account in `account_key_file` asks and pays; what is left of the fee can be pulled back from the Coprocessor.
    The exit code is 0 only if the outcome is Completed.
    """
    settings = context.settings()
    rpc = connect(settings)
    given = _input(input_hex, input_text, input_file)
    wanted = ProgramId(parse_hex(program_id, 32, "program id"))
    manifest = _published_manifest(settings, rpc, wanted)
    if len(given) > manifest.limits.input_bytes:
        raise LimitExceededError(
            "input size in bytes (by the program's manifest)", manifest.limits.input_bytes, len(given)
        )
    fee = _default_fee_wei(settings, callback_gas, manifest.limits) if fee_wei is None else fee_wei
    created = _send(settings, rpc, wanted, given, fee, callback_gas, timeout_s)
    request_id = created.request.request_id
    if no_wait:
        print_json({"request_id": request_id}) if as_json else click.echo(hex_of(request_id))
        return
    click.echo(f"requested {hex_of(request_id)} in block {created.block_number}", err=True)
    end = _wait(settings, rpc, created)
    click.get_current_context().exit(_show(settings, rpc, request_id, end, as_json=as_json))


def _input(input_hex: str | None, text: str | None, file: Path | None) -> bytes:
    given = [value for value in (input_hex, text, file) if value is not None]
    if len(given) > 1:
        raise click.UsageError("give one of --input, --input-text and --input-file")
    if input_hex is not None:
        try:
            return bytes.fromhex(input_hex.removeprefix("0x"))
        except ValueError as error:
            raise EncodingError(f"--input is not hexadecimal: {input_hex[:80]!r}") from error
    return text.encode() if text is not None else file.read_bytes() if file is not None else b""


def _published_manifest(settings: Settings, rpc: JsonRpc, program_id: ProgramId) -> Manifest:
    registry = address(settings, "program_registry")
    reader = ChainReader(rpc, settings.chain_id, address(settings, "coprocessor"))
    if reader.program(registry, program_id) is None:
        raise ConfigurationError(
            f"program {hex_of(program_id)} is not published on chain {settings.chain_id}: "
            "run `adyton program publish FILE`"
        )
    return Manifest.parse(reader.manifest(registry, program_id))


def _default_fee_wei(settings: Settings, callback_gas: int, limits: Limits) -> int:
    fee = pool(settings).cost_wei(callback_gas, limits.fuel, limits.output_bytes)
    return -(-fee // GWEI) * GWEI


def _send(
    settings: Settings,
    rpc: JsonRpc,
    program_id: ProgramId,
    given: bytes,
    fee_wei: int,
    callback_gas: int,
    timeout_s: int,
) -> Created:
    wallet, coprocessor = account(settings, rpc), address(settings, "coprocessor")
    now = ChainReader(rpc, settings.chain_id, coprocessor).head().timestamp_s
    deadline_s = max(now, int(time.time())) + timeout_s
    arguments = (program_id, pool(settings).pool_id, deadline_s, callback_gas, given)
    tx_receipt = wallet.call("Coprocessor", coprocessor, "request", *arguments, value_wei=fee_wei)
    created = decode_event(tx_receipt["logs"][0], settings.chain_id)
    assert isinstance(created, Created)
    return created


def _wait(settings: Settings, rpc: JsonRpc, created: Created) -> Settled | Expired:
    """Until the request ends, or until its deadline has passed and nobody has expired it."""
    request_id, coprocessor = created.request.request_id, created.request.coprocessor
    reader = ChainReader(rpc, settings.chain_id, coprocessor)
    while True:
        end = find_end(rpc, settings.chain_id, coprocessor, request_id, created.block_number)
        if end is not None:
            return end
        if reader.head().timestamp_s > created.request.deadline_s:
            raise RetryableError(
                f"nobody served {hex_of(request_id)} in time: its fee can be had back by calling `expire` and "
                "`withdrawRefunds`; look at `adyton status` and `adyton doctor` for why"
            )
        time.sleep(POLL_S)


def _show(settings: Settings, rpc: JsonRpc, request_id: RequestId, end: Settled | Expired, *, as_json: bool) -> int:
    if isinstance(end, Expired):
        raise RetryableError(
            f"request {hex_of(request_id)} expired unserved in block {end.block_number}; its fee was refunded"
        )
    delivered = read_delivery(rpc, address(settings, "coprocessor"), end.transaction_hash)
    at = delivered.position(request_id) if delivered is not None else None
    output = delivered.outputs[at] if delivered is not None and at is not None else None
    if as_json:
        print_json(
            {
                "request_id": request_id,
                "outcome": end.outcome.name,
                "output": output,
                "fuel_used": end.fuel_used,
                "fee_wei": end.fee_wei,
                "block": end.block_number,
                "transaction": end.transaction_hash,
            }
        )
    else:
        click.echo(f"{end.outcome.name}: {end.fuel_used} fuel, fee {end.fee_wei / _WEI_PER_ETH:.9f} ETH, "
                   f"block {end.block_number}, transaction {hex_of(end.transaction_hash)}", err=True)  # fmt: skip
        click.echo("(output not in this transaction's calldata)" if output is None else _readable(output))
    return 0 if end.outcome is Outcome.COMPLETED else 1


def _readable(output: bytes) -> str:
    """Text as text, anything else as hexadecimal."""
    try:
        text = output.decode()
    except UnicodeDecodeError:
        return hex_of(output)
    return text if text and text.isprintable() else hex_of(output)
