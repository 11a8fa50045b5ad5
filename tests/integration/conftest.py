"""A real chain with the real contracts, fresh for each test that asks for `chain`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from oracle import anvil
from oracle.attestation.dcap.onchain import Bundle
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.quoters.simulated import SimulatedQuoter, simulated_measurement
from oracle.attestation.sources import DevelopmentSource
from oracle.chain.contracts import decode_event
from oracle.chain.dcap import DcapOnChain, bring
from oracle.chain.deployment import Deployment, deploy, development_root
from oracle.chain.publishing import publish
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc
from oracle.chain.wallet import Wallet
from oracle.config import Settings
from oracle.crypto.ecdsa import SigningKey
from oracle.enclave.measurement import measure
from oracle.types.block import Created
from oracle.types.ids import ZERO_ADDRESS, Address, MeasurementId, PoolId, ProgramId, parse_hex
from oracle.types.pool import Pool
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.wiring import open_wallet
from tests.fakes import MEASUREMENT

_FOUNDRY = Path(__file__).parents[2] / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin"
CODE = b"function main(input) { return input.reverse() }"
PRICES = Pool(ZERO_ADDRESS, 10_000, 1_000, 1_000_000)


@dataclass
class Chain:
    """A local chain, our contracts on it, and somebody who asks."""

    node: anvil.Anvil
    rpc: Rpc
    deployment: Deployment
    asker: Wallet
    program: Program

    @property
    def coprocessor(self) -> Address:
        return Address(parse_hex(self.deployment.coprocessor, 20, "coprocessor"))

    @property
    def reader(self) -> ChainReader:
        return ChainReader(self.rpc, anvil.CHAIN_ID, self.coprocessor, self.pool_id)

    @property
    def pool_id(self) -> PoolId:
        return PoolId(parse_hex(self.deployment.pool_id, 32, "pool"))

    def request(
        self, given: bytes = b"hello", *, program_id: ProgramId | None = None, wait_s: int = 600, callback_gas: int = 0
    ) -> Created:
        """Ask for the program to be run on `given`."""
        arguments = (
            self.program.program_id if program_id is None else program_id,
            self.pool_id,
            self.reader.head().timestamp_s + wait_s,
            callback_gas,
            given,
        )
        tx_receipt = self.asker.call("Coprocessor", self.coprocessor, "request", *arguments, value_wei=10**16)
        created = decode_event(tx_receipt["logs"][0], anvil.CHAIN_ID)
        assert isinstance(created, Created)
        return created

    def settlements(self) -> dict[bytes, int]:
        """How often each request was settled or expired, by the chain's own log."""
        ends: dict[bytes, int] = {}
        for event in self.reader.events(0, self.reader.head().number):
            if not isinstance(event, Created):
                ends[event.request_id] = ends.get(event.request_id, 0) + 1
        return ends


def build_chain(
    node: anvil.Anvil, measurements: tuple[MeasurementId, ...] = (MEASUREMENT,), *, is_supplied: bool = True
) -> Chain:
    """Deploy on a fresh chain and publish one program. Unless it `is_supplied`, the verifier has no collateral yet."""
    rpc = Rpc(node.rpc_url)
    settings = Settings(rpc_url=node.rpc_url)
    owner, asker = (open_wallet(settings, rpc, key) for key in (anvil.ACCOUNTS[0], anvil.ACCOUNTS[2]))
    deployment = deploy(owner, PRICES, measurements, development_root())
    if is_supplied:
        supply(owner, deployment)
    manifest = Manifest(Engine.JS, Limits()).encode()
    registry = Address(parse_hex(deployment.program_registry, 20, "registry"))
    program = publish(owner, registry, manifest, CODE).program
    return Chain(node, rpc, deployment, asker, program)


def supply(wallet: Wallet, deployment: Deployment) -> None:
    """Bring the collateral of simulated SGX machines to the chain, so that tests need not wait for a pool to do it."""
    coprocessor, registry = (
        Address(parse_hex(text, 20, "contract")) for text in (deployment.coprocessor, deployment.enclave_registry)
    )
    reader = ChainReader(wallet.rpc, anvil.CHAIN_ID, coprocessor)
    quote, now_s = parse_quote(SimulatedQuoter(bytes(32)).quote(bytes(32))), reader.head().timestamp_s
    bundle = Bundle.of(quote, DevelopmentSource().collateral(quote, now_s))
    bring(wallet, DcapOnChain.of_registry(reader, registry), bundle, now_s)


@pytest.fixture(autouse=True, scope="session")
def _anvil_on_path() -> None:
    if shutil.which("anvil") is None:
        os.environ["PATH"] = f"{_FOUNDRY}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def chain() -> Iterator[Chain]:
    """Automine: each transaction is a block."""
    with anvil.running() as node:
        built = build_chain(node, (MEASUREMENT, simulated_measurement(measure())))
        yield built
        built.rpc.close()


def pool_settings(chain: Chain, data_dir: Path, key: SigningKey = anvil.ACCOUNTS[1]) -> Settings:
    """Settings of a pool on `chain`."""
    data_dir.mkdir(parents=True, exist_ok=True)
    key_file = data_dir / "relay.key"
    key_file.write_text("0x" + key.secret.hex())
    key_file.chmod(0o600)
    deployment = chain.deployment
    return Settings(
        rpc_url=chain.node.rpc_url,
        ws_url=chain.node.ws_url,
        coprocessor=deployment.coprocessor,
        enclave_registry=deployment.enclave_registry,
        program_registry=deployment.program_registry,
        pool_id=deployment.pool_id,
        start_block=deployment.start_block,
        relay_key_file=key_file,
        data_dir=data_dir,
        expire_overdue="yes",
        quoter="simulated",
        collateral_source="development",
    )


@pytest.fixture
def whole_pool(chain: Chain, tmp_path: Path) -> Settings:
    """A pool with its own enclave process."""
    return pool_settings(chain, tmp_path)


@pytest.fixture
def settings(chain: Chain, tmp_path: Path) -> Settings:
    """A pool whose enclave somebody else runs."""
    return replace(pool_settings(chain, tmp_path), enclave_socket=tmp_path / "e.sock")
