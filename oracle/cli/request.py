"""`request`: ask for one computation from the command line, wait, and show the output."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from oracle.cli.context import Context, pass_context, print_json
from oracle.client.adyton import Adyton
from oracle.client.connection import bytes_of
from oracle.client.results import Result
from oracle.errors import EncodingError, RetryableError
from oracle.types.block import Expired
from oracle.types.ids import hex_of
from oracle.types.pool import GWEI

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
    given = _input(input_hex, input_text, input_file)
    with Adyton.from_settings(context.settings()) as adyton:
        created = adyton.request(
            bytes_of(program_id, 32, "program id"),
            given,
            callback_gas=callback_gas,
            wait_s=timeout_s,
            max_fee_wei=fee_wei,
        )
        if no_wait:
            request_id = created.request_id
            print_json({"request_id": request_id}) if as_json else click.echo(hex_of(request_id))
            return
        click.echo(f"requested {hex_of(created.request_id)} in block {created.block_number}", err=True)
        result = adyton.wait(created)
    click.get_current_context().exit(_show(result, as_json=as_json))


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


def _show(result: Result, *, as_json: bool) -> int:
    request_id = result.request_id
    if isinstance(result, Expired):
        raise RetryableError(
            f"request {hex_of(request_id)} expired unserved in block {result.block_number}; its fee was refunded"
        )
    if as_json:
        print_json(
            {
                "request_id": request_id,
                "outcome": result.outcome.name,
                "output": result.output,
                "fuel_used": result.fuel_used,
                "fee_wei": result.fee_wei,
                "block": result.block_number,
                "transaction": result.transaction_hash,
            }
        )
    else:
        click.echo(f"{result.outcome.name}: {result.fuel_used} fuel, fee {result.fee_wei / _WEI_PER_ETH:.9f} ETH, "
                   f"block {result.block_number}, transaction {hex_of(result.transaction_hash)}", err=True)  # fmt: skip
        is_unknown = result.output is None
        click.echo("(output not in this transaction's calldata)" if is_unknown else _readable(result.output or b""))
    return 0 if result.is_completed else 1


def _readable(output: bytes) -> str:
    """Text as text, anything else as hexadecimal."""
    try:
        text = output.decode()
    except UnicodeDecodeError:
        return hex_of(output)
    return text if text and text.isprintable() else hex_of(output)
