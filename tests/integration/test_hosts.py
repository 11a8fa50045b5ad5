"""
A pool on three hosts, with real servers. The one in the middle has PostgreSQL, the broker, the chain, a watcher and a
submitter; two beside it have a worker and an enclave each, and one of them a watcher and a submitter of its own. That
one is cut off in the middle of its work, and comes back.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from oracle import anvil, supervisor
from oracle.anvil import ACCOUNTS
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.chain.node import RpcNode
from oracle.chain.publishing import publish
from oracle.chain.rpc import quantity
from oracle.config import Settings
from oracle.enclave.measurement import measure
from oracle.jobs.enclave_client import EnclaveClient
from oracle.process import die_with_parent
from oracle.store.rows import EnclaveState, RequestState
from oracle.store.schema import receipts, requests
from oracle.store.store import Store
from oracle.types.ids import Address, hex_of, parse_hex
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.wiring import open_wallet
from tests import servers
from tests.fakes import eventually
from tests.integration.conftest import Chain, build_chain, pool_settings
from tests.namespaces import NETWORK, Host, hosts

WITHIN_S = 180.0
BUSY = b"function main(input) { let sum = 0; for (let i = 0; i < 5e5; i++) sum += i; return input.reverse() }"


def start(
    settings: Settings, part: str, host: Host | None = None, directory: Path | None = None
) -> subprocess.Popen[bytes]:
    """`adyton PART` on a host, or in the middle; of the build in `directory`, if that is given."""
    return subprocess.Popen(
        [sys.executable, "-m", "oracle", part],
        env=supervisor._environment(settings, settings.data_dir / f"run-{part}"),
        cwd=directory,
        preexec_fn=partial(_begin, os.getpid(), host),  # noqa: PLW1509
    )


def _begin(parent: int, host: Host | None) -> None:
    die_with_parent(parent)
    if host is not None:
        host.join()


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """All at once."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait(timeout=120)


@dataclass
class Pool:
    """The pool as its operator sees it."""

    chain: Chain
    store: Store
    busy: Program
    directory: Path
    processes: Sequence[subprocess.Popen[bytes]]
    asked: int = 0

    def ask(self, count: int) -> None:
        for _ in range(count):
            self.chain.request(b"%d" % self.asked, program_id=self.busy.program_id)
            self.asked += 1

    @property
    def live_enclaves(self) -> int:
        return sum(enclave.state is EnclaveState.LIVE for enclave in self.store.enclaves.newest())

    def is_all_settled(self) -> bool:
        return self.store.requests.counts()[RequestState.SETTLED] == self.asked

    def signer(self, name: str) -> Address:
        return EnclaveClient(self.directory / name / "enclave" / "enclave.sock").describe().signer

    def held_until_ms(self, name: str) -> int:
        """Until when the worker of this host has what it has; 0: it has nothing."""
        held = (requests.c.state == RequestState.PENDING, requests.c.held_by.endswith(f"/{name}"))
        latest = select(func.coalesce(func.max(requests.c.held_until_ms), 0)).where(*held)
        with self.store.database.read() as connection:
            return int(connection.execute(latest).scalar_one())

    @contextmanager
    def thinking(self, name: str) -> Iterator[None]:
        """The enclave of this host is at work, and does not get on with it until the end of the block."""
        enclave = json.loads((self.directory / name / "run" / "pids.json").read_text())["enclave-0"]

        def is_caught_at_work() -> bool:
            self.ask(5)
            eventually(lambda: self.held_until_ms(name) or self.is_all_settled(), WITHIN_S)
            os.kill(enclave, signal.SIGSTOP)
            held_ms = self.held_until_ms(name)
            if held_ms and eventually(lambda: self.held_until_ms(name) != held_ms, WITHIN_S):
                is_extended = self.held_until_ms(name) > held_ms  # else it had just finished
                if is_extended:
                    return True
            os.kill(enclave, signal.SIGCONT)
            return False

        try:
            eventually(is_caught_at_work, WITHIN_S, "it works")
            yield
        finally:
            os.kill(enclave, signal.SIGCONT)

    def served(self, signer: Address) -> int:
        with self.store.database.read() as connection:
            return int(connection.execute(select(func.count()).where(receipts.c.signer == signer)).scalar_one())

    def audit(self, *accounts: Address) -> None:
        """What the chain says: every request once, and no nonce left out or waiting."""
        assert list(self.chain.settlements().values()) == [1] * self.asked
        for account in accounts:
            eventually(lambda: self.store.journal.sent(account) == [], WITHIN_S, "nothing in flight")  # noqa: B023
            mined = RpcNode(self.chain.rpc).account(account).nonce
            pending = quantity(self.chain.rpc.call("eth_getTransactionCount", hex_of(account), "pending"))
            assert mined == pending == self.store.journal.next_nonce(account, mined)


@pytest.fixture
def machines() -> Iterator[list[Host]]:
    with hosts("a", "b") as made:
        yield made


@pytest.fixture
def database(machines: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.postgresql(Path(tmp_path_factory.mktemp("pg", numbered=True)), NETWORK) as template:
        yield servers.create_database(template, "pool")


@pytest.fixture
def broker(machines: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """RabbitMQ, or what there is."""
    serve = servers.rabbitmq if servers.has_rabbitmq() else servers.valkey
    with serve(Path(tmp_path_factory.mktemp("broker", numbered=True)), servers.ANY) as template:
        yield template


@pytest.fixture
def reachable(machines: list[Host], monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A chain in the middle, for all hosts."""
    monkeypatch.setenv("ANVIL_IP_ADDR", servers.ANY)
    with anvil.running() as node:
        chain = build_chain(node, (simulated_measurement(measure()),))
        yield chain
        chain.rpc.close()


def settings_on(host: Host, here: Settings, directory: Path) -> Settings:
    """The settings of a host beside the one with `here`."""
    there = {name: getattr(here, name).replace(servers.LOOPBACK, host.hub_address) for name in URLS}
    database_url = f"postgresql://adyton@{host.hub_address}/pool"
    return replace(here, **there, database_url=database_url, data_dir=directory)


URLS = ("rpc_url", "ws_url", "broker_url")


def publish_busy(chain: Chain) -> Program:
    owner = open_wallet(Settings(rpc_url=chain.node.rpc_url), chain.rpc, ACCOUNTS[0])
    registry = Address(parse_hex(chain.deployment.program_registry, 20, "registry"))
    return publish(owner, registry, Manifest(Engine.JS, Limits()).encode(), BUSY).program


@pytest.fixture
def pool(machines: list[Host], database: str, broker: str, reachable: Chain, tmp_path: Path) -> Iterator[Pool]:
    payee, url = hex_of(ACCOUNTS[1].address), broker.format(host=servers.LOOPBACK)
    here = pool_settings(reachable, tmp_path / "middle", ACCOUNTS[3])
    here = replace(here, database_url=database, broker_url=url, payee=payee, relay_lost_after_s=5.0)
    own_key = replace(here, relay_key_file=pool_settings(reachable, tmp_path / "a").relay_key_file)
    a, b = (settings_on(machine, own_key, tmp_path / name) for machine, name in zip(machines, "ab", strict=True))
    with Store.open(database, create=True) as store:
        servers.await_broker(url)
        middle = [start(here, part) for part in ("watcher", "submitter")]
        beside = [start(a, part, machines[0]) for part in ("worker", "watcher", "submitter")]
        processes = [*middle, *beside, start(b, "worker", machines[1])]
        try:
            yield Pool(reachable, store, publish_busy(reachable), tmp_path, processes)
        finally:
            end(processes)


def test_host_that_is_cut_off_at_work_costs_nothing_and_comes_back(pool: Pool, machines: list[Host]) -> None:
    """P1, P3, P4."""
    lost, await_that = machines[0], partial(eventually, within_s=WITHIN_S)
    await_that(lambda: pool.live_enclaves == 2, what="both enclaves are live")
    its_signer = pool.signer("a")
    pool.ask(10)
    await_that(lambda: pool.served(its_signer), what="it serves")
    with pool.thinking("a"):
        lost.cut()
    assert pool.held_until_ms("a")
    pool.ask(10)
    await_that(pool.is_all_settled, what="all settled without it")
    served = pool.served(its_signer)
    lost.mend()

    def it_serves_again() -> bool:
        pool.ask(2)
        await_that(pool.is_all_settled, what="all settled with it")
        return pool.served(its_signer) > served

    await_that(it_serves_again, what="it is back")
    assert [process.args for process in pool.processes if process.poll() is not None] == []
    pool.audit(*(Address(ACCOUNTS[number].address) for number in (1, 3)))
