"""`dev` and `deploy`: contracts on a chain."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import click

from oracle import anvil, supervisor
from oracle.attestation.quoters.detection import SIMULATED
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.attestation.sources import DEVELOPMENT
from oracle.chain import deployment
from oracle.cli.context import Context, account, connect, pass_context
from oracle.cli.registry import policy_of, policy_options
from oracle.crypto.hashing import HASH_BYTES
from oracle.devnet import PRICES, deployment_settings, prepare, toml
from oracle.enclave.measurement import measure
from oracle.errors import ConfigurationError
from oracle.store.rows import EnclaveState
from oracle.store.store import Store
from oracle.types.ids import ZERO_ADDRESS, MeasurementId, hex_of, parse_hex
from oracle.types.pool import Pool

READY = "ready        "  # begins the line that `adyton dev` prints when requests will be served
_READY_POLL_S = 0.05


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8545, show_default=True, help="Where Anvil listens.")
@click.option("--block-time", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="Mine at this pace. Default: each transaction at once.")  # fmt: skip
@click.option("--dir", "directory", type=click.Path(path_type=Path, file_okay=False), default=Path(".adyton/dev"),
              show_default=True, help="Where keys, settings and data go. Emptied first.")  # fmt: skip
@pass_context
def dev(context: Context, port: int, block_time: float | None, directory: Path) -> None:
    """
    Run a local chain with the contracts and a pool on it, for playing.

    The chain and its accounts are Anvil's; nothing here is worth anything. Ctrl-C ends and forgets everything.
    """
    with anvil.running(port, block_time) as chain:
        shutil.rmtree(directory, ignore_errors=True)
        made, settings_file = prepare(chain, directory)
        click.echo(f"chain        {chain.rpc_url} (chain id {made.chain_id})")
        click.echo(f"coprocessor  {made.coprocessor}")
        click.echo(f"programs     {made.program_registry}")
        click.echo(f"enclaves     {made.enclave_registry}")
        click.echo(f"pool id      {made.pool_id}")
        click.echo("\nIn another shell:\n")
        click.echo(f"  export ADYTON_CONFIG={settings_file.resolve()}")
        click.echo("  adyton program publish FILE.js\n  adyton request PROGRAM_ID --input 0x…\n")
        settings = Context(settings_file, context.log_level).settings()
        Store.open(settings.database, create=True).close()  # before two threads would both make it
        threading.Thread(target=_announce, args=(settings.database,), daemon=True).start()
        supervisor.run_up(settings)


def _announce(database: str) -> None:
    """Say when requests will be served."""
    with Store.open(database) as store:
        while not supervisor.is_ready(store):
            time.sleep(_READY_POLL_S)
        live = next(enclave for enclave in store.enclaves.newest() if enclave.state is EnclaveState.LIVE)
    click.echo(f"{READY}signer {hex_of(live.signer)}, measurement {hex_of(live.measurement)}")


@click.command()
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the settings of the new deployment to this file.")  # fmt: skip
@click.option("--measurement", "measurements", metavar="HEX", multiple=True,
              help="Enclave build to approve. Default: the one installed here.")  # fmt: skip
@click.option("--root", type=click.Choice(["intel", "development"]),
              help="Whose quotes count. Default: Intel's; on chain 31337 those of the development PKI.")  # fmt: skip
@click.option("--insecure-development-root", is_flag=True,
              help="Trust the development PKI off chain 31337, where everybody can forge its evidence.")  # fmt: skip
@policy_options
@click.option("--base-fee-gwei", type=int, default=PRICES.base_fee_gwei, show_default=True,
              help="The pool's price of a receipt.")  # fmt: skip
@click.option("--gas-price-mwei", type=int, default=PRICES.gas_price_mwei, show_default=True,
              help="The pool's price of a unit of callback gas, in 10^6 wei.")  # fmt: skip
@click.option("--fuel-price-wei", type=int, default=PRICES.fuel_price_wei_per_1000, show_default=True,
              help="The pool's price of 1,000 units of fuel.")  # fmt: skip
@pass_context
def deploy(
    context: Context,
    /,
    save: Path | None,
    measurements: tuple[str, ...],
    root: str | None,
    insecure_development_root: bool,
    base_fee_gwei: int,
    gas_price_mwei: int,
    fuel_price_wei: int,
    **policy: Any,
) -> None:
    """
    Deploy the contracts; the account in `account_key_file` pays and owns them.

    Builds are approved under the given conditions; `adyton registry` approves more of them later. With Intel's root
    there is no build to approve by default: `adyton attestation show` prints the measurement of a quote.
    """
    settings = context.settings()
    if save is not None and save.exists():
        raise ConfigurationError(f"{save} exists: choose another name, or remove it")
    prices = Pool(ZERO_ADDRESS, base_fee_gwei, gas_price_mwei, fuel_price_wei)
    is_play = settings.chain_id == deployment.DEVELOPMENT_CHAIN_ID or insecure_development_root
    trusts_development = root == DEVELOPMENT if root is not None else is_play
    approved = [MeasurementId(parse_hex(text, HASH_BYTES, "measurement")) for text in measurements]
    if not approved and trusts_development:
        approved = [simulated_measurement(measure())]
    key = deployment.development_root() if trusts_development else deployment.INTEL_ROOT
    deployment.check_root(key, settings.chain_id, insecure_development_root=insecure_development_root)
    wallet = account(settings, connect(settings))
    made = deployment.deploy(
        wallet,
        prices,
        approved,
        key,
        policy_of(**policy).onchain(),
        insecure_development_root=insecure_development_root,
    )
    source = {"collateral_source": DEVELOPMENT, "quoter": SIMULATED} if trusts_development else {}
    text = toml({"rpc_url": settings.rpc_url} | deployment_settings(made) | source)
    if save is not None:
        save.write_text(text)
    click.echo(text, nl=False)
    click.echo("".join(f"# approved {hex_of(measurement)}\n" for measurement in approved), nl=False)
