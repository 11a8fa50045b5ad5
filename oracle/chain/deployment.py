"""Put the contracts on a chain. Whoever deploys owns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from oracle.attestation.development.dcap import DevelopmentPki
from oracle.chain.reader import ChainReader
from oracle.chain.wallet import Wallet
from oracle.errors import ConfigurationError
from oracle.types.ids import MeasurementId, hex_of
from oracle.types.pool import Pool

__all__ = ["Deployment", "Wallet", "deploy"]

RootKey = tuple[bytes, bytes]  # x and y of a P-256 key
DEVELOPMENT_CHAIN_ID: Final = 31_337
INTEL_ROOT: Final[RootKey] = (
    bytes.fromhex("0ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5"),
    bytes.fromhex("67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394"),
)
# `Policy` in contracts/types/Policy.sol: statuses accepted (bits), grace period, minimum evaluation number, listed
# platforms only, advisories accepted.
UP_TO_DATE_ONLY = (1, 0, 0, False, 0)


def development_root() -> RootKey:
    """The root of the development PKI, whose key is in this repository."""
    return DevelopmentPki().root_point


def check_root(root: RootKey, chain_id: int, *, insecure_development_root: bool) -> None:
    """
    Refuse the development root where it matters.

    Raises:
        ConfigurationError: the development root, off chain id 31337, and not even insisted on.
    """
    if root == development_root() and chain_id != DEVELOPMENT_CHAIN_ID and not insecure_development_root:
        raise ConfigurationError(
            f"everybody can forge evidence under the development root: it is refused on chain {chain_id} "
            "(--insecure-development-root insists)"
        )


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


def deploy(
    wallet: Wallet,
    prices: Pool,
    measurements: Sequence[MeasurementId],
    root: RootKey,
    policy: tuple[int, int, int, bool, int] = UP_TO_DATE_ONLY,
    *,
    insecure_development_root: bool = False,
) -> Deployment:
    """
    Deploy everything with a DCAP verifier that trusts `root`, and approve `measurements` under `policy`.

    `prices` gives the pool's prices; its verifier is replaced by the new enclave registry.

    Raises:
        ConfigurationError: as `check_root`.
        RevertedError, RetryableError: as `Wallet.send`.
    """
    check_root(root, wallet.chain_id, insecure_development_root=insecure_development_root)
    wallet.rpc.require_chain(wallet.chain_id)
    verifier = wallet.create("DcapVerifier", *root)
    coprocessor = registry = wallet.create("Coprocessor", wallet.address, verifier)
    for measurement in measurements:
        wallet.call("EnclaveRegistry", registry, "approveMeasurement", measurement, policy)
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
