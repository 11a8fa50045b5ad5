"""
A pool's worth of contracts, keys and settings on a development chain, in one directory.

The keys are Anvil's published ones: one account owns the contracts and asks, another relays. `up` on the settings file
that `prepare` writes is a whole pool.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from oracle.anvil import ACCOUNTS, CHAIN_ID, Anvil
from oracle.attestation.quoters.detection import SIMULATED
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.attestation.sources import DEVELOPMENT
from oracle.chain.deployment import Deployment, deploy, development_root
from oracle.chain.rpc import Rpc
from oracle.chain.wallet import Wallet
from oracle.config import Settings
from oracle.crypto.ecdsa import SigningKey
from oracle.enclave.measurement import measure
from oracle.errors import ConfigurationError
from oracle.types.ids import ZERO_ADDRESS
from oracle.types.pool import Pool
from oracle.wiring import open_wallet

OWNER, RELAY = ACCOUNTS[:2]
# Delivering costs about 50,000 gas: at 1 gwei that is the base fee. 10^9 fuel are about 0.2 s of one core.
PRICES = Pool(ZERO_ADDRESS, base_fee_gwei=50_000, gas_price_mwei=1_000, fuel_price_wei_per_1000=1_000)
SETTINGS_FILE = "adyton.toml"


def wallet(rpc: Rpc, key: SigningKey) -> Wallet:
    """An account of the development chain."""
    return open_wallet(Settings(chain_id=CHAIN_ID), rpc, key)


def prepare(anvil: Anvil, directory: Path) -> tuple[Deployment, Path]:
    """
    Deploy the contracts, approve this installation's enclave, and write keys and settings into `directory`.

    Returns the deployment and the settings file.

    Raises:
        ConfigurationError: the directory cannot be written.
        ChainError, RetryableError: the chain refuses or is away.
    """
    rpc = Rpc(anvil.rpc_url)
    try:
        deployment = deploy(wallet(rpc, OWNER), PRICES, [simulated_measurement(measure())], development_root())
    finally:
        rpc.close()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        settings = {
            **deployment_settings(deployment),
            "rpc_url": anvil.rpc_url,
            "ws_url": anvil.ws_url,
            "relay_key_file": _write_key(directory / "relay.key", RELAY),
            "account_key_file": _write_key(directory / "account.key", OWNER),
            "data_dir": "data",
            "expire_overdue": "yes",
            "quoter": SIMULATED,
            "collateral_source": DEVELOPMENT,
        }
        path = directory / SETTINGS_FILE
        path.write_text(toml(settings))
    except OSError as error:
        raise ConfigurationError(f"cannot write to {directory}: {error}") from error
    return deployment, path


def deployment_settings(deployment: Deployment) -> dict[str, object]:
    """What a pool's settings must say about a deployment."""
    names = ("chain_id", "coprocessor", "enclave_registry", "program_registry", "pool_id", "start_block")
    return {name: getattr(deployment, name) for name in names}


def toml(settings: Mapping[str, object]) -> str:
    """Flat settings as TOML: JSON's strings and numbers are TOML's."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def _write_key(path: Path, key: SigningKey) -> str:
    path.touch(mode=0o600)
    path.write_text(f"0x{key.secret.hex()}\n")
    return path.name
