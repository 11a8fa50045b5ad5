"""
A chain behind a node that can lie, a pool on it, in one piece or in parts, and everybody who asks it something.

    consumers ──────────> Anvil <── lying proxy <── pool: `adyton up`, or each part by itself on two "hosts"
    audit (honest) ─────────┘
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from oracle import anvil, supervisor
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.chain.rpc import Rpc
from oracle.config import Settings
from oracle.enclave.measurement import measure
from oracle.errors import AdytonError
from oracle.store.rows import EnclaveState
from oracle.store.store import Store
from oracle.types.ids import Address, hex_of
from tests.fakes import MEASUREMENT, eventually
from tests.faults.audit import Deployed, Report, audit, is_settled_down, open_requests
from tests.faults.keeper import Command, Keeper
from tests.faults.load import fund
from tests.integration.conftest import Chain, build_chain, pool_settings
from tests.lying_proxy import LyingProxy, lying

FIRST, SECOND = anvil.ACCOUNTS[1], anvil.ACCOUNTS[3]  # relay keys
BURIED = 80  # blocks on top of the deployment, so that no reorganisation reaches it
CALM_WITHIN_S = 240.0
_mining = threading.Lock()


@dataclass
class World:
    """Everything that a driver disturbs, and the means to see what became of it."""

    chain: Chain
    proxy: LyingProxy
    settings: Settings
    keeper: Keeper
    store: Store  # of the pool: for waiting and for stopping at a state; the audit does not look into it

    @property
    def deployed(self) -> Deployed:
        return deployed(self.chain)

    @property
    def is_ready(self) -> bool:
        """Whether an enclave is registered."""
        return any(enclave.state is EnclaveState.LIVE for enclave in self.store.enclaves.newest())

    def settle_down(self, within_s: float = CALM_WITHIN_S) -> Report:
        """Wait until every request has ended and no relay waits for anything; then audit."""
        eventually(lambda: not open_requests(self.deployed), within_s, "every request has ended")
        eventually(lambda: is_settled_down(self.deployed), within_s, "no transaction waits to be mined")
        return audit(self.deployed)


def deployed(chain: Chain) -> Deployed:
    """What is audited on `chain`."""
    relays = (Address(FIRST.address), Address(SECOND.address))
    return Deployed(
        chain.rpc,
        anvil.CHAIN_ID,
        chain.coprocessor,
        relays,
        (Address(FIRST.address),),
        chain.program.program_id,
        _reversed,
    )


def _reversed(given: bytes) -> bytes:
    """What the program of `tests.integration.conftest` does."""
    return given[::-1]


def reorganise(chain: Chain, depth: int) -> None:
    """
    Replace the newest `depth` blocks by empty ones, and add one. Nothing is mined meanwhile: Anvil would be left with
    blocks that it does not have.
    """
    with _mining:
        chain.rpc.call("evm_setAutomine", False)
        try:
            chain.rpc.call("anvil_reorg", depth, [])
        finally:
            chain.rpc.call("evm_setAutomine", True)
        chain.rpc.call("evm_mine")


@contextmanager
def ticking(chain: Chain, interval_s: float) -> Iterator[None]:
    """A block now and then, also if nobody sends anything."""
    stop, rpc = threading.Event(), Rpc(chain.node.rpc_url)

    def tick() -> None:
        while not stop.wait(interval_s):
            with contextlib.suppress(AdytonError), _mining:
                rpc.call("evm_mine")

    thread = threading.Thread(target=tick, name="ticker")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        rpc.close()


@contextmanager
def a_chain() -> Iterator[Chain]:
    """A chain with the contracts buried deeply enough. Each transaction is mined at once."""
    with anvil.running() as node:
        chain = build_chain(node, (MEASUREMENT, simulated_measurement(measure())))
        fund(chain)
        chain.rpc.call("anvil_mine", hex(BURIED))
        try:
            yield chain
        finally:
            chain.rpc.close()


@contextmanager
def a_world(
    chain: Chain, directory: Path, *, separate: bool = False, database_url: str | None = None
) -> Iterator[World]:
    """A pool on `chain`, ready to serve."""
    with lying(chain.node) as proxy:
        settings = replace(
            pool_settings(chain, directory / "a"),
            rpc_url=proxy.rpc_url,
            ws_url=proxy.ws_url,
            rpc_timeout_s=2.0,
            payee=hex_of(FIRST.address),
            database_url=database_url,
        )
        commands = _separately(chain, directory, settings) if separate else _together(settings)
        with (
            Store.open(settings.database, create=True) as store,
            Keeper(commands, directory / "log") as keeper,
        ):
            world = World(chain, proxy, settings, keeper, store)
            eventually(lambda: world.is_ready, 60, "the pool is ready")
            yield world


def environment(settings: Settings, name: str) -> Mapping[str, str]:
    """That of a part with these settings."""
    return supervisor._environment(settings, settings.data_dir / "run" / name)


def _together(settings: Settings) -> dict[str, Command]:
    return {"up": Command(("-m", "oracle", "up"), environment(settings, "up"))}


def _separately(chain: Chain, directory: Path, first: Settings) -> dict[str, Command]:
    """Two hosts with a watcher, a worker with its enclave, and a submitter each, and one submitter that stands by."""
    second = replace(
        pool_settings(chain, directory / "b", SECOND),
        rpc_url=first.rpc_url,
        ws_url=first.ws_url,
        rpc_timeout_s=first.rpc_timeout_s,
        payee=first.payee,
        database_url=first.database,
        broker_url=first.broker,
    )
    broker = ("-m", "oracle.parts", str(os.getpid()), "broker")
    commands = {"broker": Command(broker, environment(first, "broker"))}
    for host, settings in (("a", first), ("b", second)):
        for part in ("watcher", "submitter", "worker"):
            commands[f"{part}-{host}"] = Command(("-m", "oracle", part), environment(settings, part))
    commands["submitter-standby"] = Command(("-m", "oracle", "submitter"), environment(first, "standby"))
    return commands
