"""
Put the contracts on a chain, and remember where.

A deployment is a JSON file: what `adyton deploy` wrote, every other command reads. Whoever deploys owns the contracts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from oracle.chain.reader import ChainReader
from oracle.chain.wallet import Wallet
from oracle.errors import ConfigurationError
from oracle.types.ids import Address, MeasurementId, hex_of
from oracle.types.pool import Pool

__all__ = ["Deployment", "Wallet", "deploy"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contracts of one chain are. All ids as `0x…` text."""

    chain_id: int
    coprocessor: str
    enclave_registry: str
    program_registry: str
    attestation_verifier: str
    owner: str
    start_block: int
    start_hash: str
    pool_id: str
    measurements: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write the JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """
        Read the JSON file.

        Raises:
            ConfigurationError: missing, unreadable, or not a deployment.
        """
        try:
            document = json.loads(path.read_text())
            return cls(**{**document, "measurements": tuple(document["measurements"])})
        except FileNotFoundError as error:
            raise ConfigurationError(f"there is no deployment file {path}: run `adyton deploy`") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(f"{path} is not a deployment file: {error}") from error


def deploy(wallet: Wallet, prices: Pool, measurements: Sequence[MeasurementId], root: Address) -> Deployment:
    """
    Deploy everything with a development verifier that trusts `root`, and approve `measurements`.

    `prices` gives the pool's prices; its verifier is replaced by the new enclave registry. Off chain id 31337 the
    development verifier refuses to be deployed.

    Raises:
        RevertedError, RetryableError: as `Wallet.send`.
    """
    wallet.rpc.require_chain(wallet.chain_id)
    verifier = wallet.create("DevelopmentVerifier", root)
    coprocessor = registry = wallet.create("Coprocessor", wallet.address, verifier)
    for measurement in measurements:
        wallet.call("EnclaveRegistry", registry, "approveMeasurement", measurement)
    programs = wallet.create("ProgramRegistry")
    start = ChainReader(wallet.rpc, wallet.chain_id, coprocessor).head()
    pool = Pool(registry, prices.base_fee_gwei, prices.gas_price_mwei, prices.fuel_price_wei_per_1000)
    return Deployment(
        chain_id=wallet.chain_id,
        coprocessor=hex_of(coprocessor),
        enclave_registry=hex_of(registry),
        program_registry=hex_of(programs),
        attestation_verifier=hex_of(verifier),
        owner=hex_of(wallet.address),
        start_block=start.number,
        start_hash=hex_of(start.hash),
        pool_id=hex_of(pool.pool_id),
        measurements=tuple(hex_of(measurement) for measurement in measurements),
    )
