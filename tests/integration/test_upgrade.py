"""
From one enclave build to another while requests flow: both are approved, the old worker is drained, what it signed is
delivered, the old build is revoked. And a store that is put back as it was some time ago.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from oracle import anvil
from oracle.anvil import ACCOUNTS
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.chain.deployment import UP_TO_DATE_ONLY
from oracle.chain.node import RpcNode
from oracle.chain.rpc import quantity
from oracle.config import Settings
from oracle.enclave.measurement import PACKAGE, measure
from oracle.store.rows import EnclaveState, RequestState
from oracle.store.store import Store
from oracle.supervisor import running
from oracle.types.ids import Address, MeasurementId, hex_of, parse_hex
from oracle.wiring import open_wallet
from tests.fakes import FakeEnclave, eventually, serving
from tests.integration.conftest import Chain, build_chain, pool_settings
from tests.integration.test_hosts import end, start
from tests.integration.test_scale_out import part

WITHIN_S = 180.0
RELAY = Address(ACCOUNTS[1].address)
_AT_ONCE = 6


def newer_build(directory: Path) -> Path:
    """A copy of the package with one measured file changed."""
    skipped = shutil.ignore_patterns("__pycache__", "artifacts")
    package = Path(shutil.copytree(PACKAGE, directory / "oracle", ignore=skipped))
    (package / "chain" / "artifacts").symlink_to(PACKAGE / "chain" / "artifacts")
    shutil.copy(PACKAGE.parent / "requirements.lock", directory)
    with (package / "enclave" / "cache.py").open("a") as source:
        source.write("# newer\n")
    return package


@dataclass
class Asker:
    """Somebody who always has a few requests waiting, until the end of the block."""

    chain: Chain
    store: Store
    asked: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()

    def _ask(self) -> None:
        while not self.stop.is_set():
            eventually(lambda: self.asked - self.settled < _AT_ONCE or self.stop.is_set(), WITHIN_S, "requests flow")
            self.chain.request(b"%d" % self.asked)
            self.asked += 1

    @property
    def settled(self) -> int:
        return self.store.requests.counts()[RequestState.SETTLED]

    def await_more(self, count: int = 10) -> None:
        """Until so many more are settled."""
        before = self.settled
        eventually(lambda: self.settled >= before + count, WITHIN_S, "requests are settled")


def signer_of(store: Store, measurement: MeasurementId) -> Address | None:
    """The live enclave of this build."""
    live = (enclave for enclave in store.enclaves.newest() if enclave.state is EnclaveState.LIVE)
    return next((enclave.signer for enclave in live if enclave.measurement == measurement), None)


def settings_of(first: Settings, directory: Path) -> Settings:
    """A second worker beside the parts of `first`."""
    return replace(
        first, data_dir=directory, database_url=first.database, broker_url=f"redis+socket://{first.broker_socket}"
    )


@dataclass
class Owner:
    """Who says which builds count."""

    chain: Chain

    def say(self, function: str, *arguments: object) -> None:
        registry = Address(parse_hex(self.chain.deployment.enclave_registry, 20, "registry"))
        wallet = open_wallet(Settings(rpc_url=self.chain.node.rpc_url), self.chain.rpc, ACCOUNTS[0])
        wallet.call("EnclaveRegistry", registry, function, *arguments)


@pytest.fixture
def old_build() -> MeasurementId:
    return simulated_measurement(measure())


@pytest.fixture
def upgraded(old_build: MeasurementId) -> Iterator[Chain]:
    """A chain on which the old build is approved."""
    with anvil.running() as node:
        chain = build_chain(node, (old_build,))
        yield chain
        chain.rpc.close()


def test_upgrade_under_load_drains_delivers_and_revokes_without_a_failure(
    upgraded: Chain, old_build: MeasurementId, tmp_path: Path
) -> None:
    """P1: two builds approved at once, the old worker drained, its build revoked when all it signed is settled."""
    chain, owner, await_that = upgraded, Owner(upgraded), partial(eventually, within_s=WITHIN_S)
    settings = pool_settings(chain, tmp_path / "pool")
    package = newer_build(tmp_path)
    new_build = simulated_measurement(measure(package))
    assert new_build != old_build
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(settings.database, create=True))
        _, _, submitter = (stack.enter_context(part(settings, name)) for name in ("broker", "watcher", "submitter"))
        old = start(settings_of(settings, tmp_path / "old"), "worker")
        stack.callback(old.kill)
        its_signer = await_that(lambda: signer_of(store, old_build), what="the old build is live")
        asker = Asker(chain, store)
        with asker.asking():
            asker.await_more()
            owner.say("approveMeasurement", new_build, UP_TO_DATE_ONLY)
            new = start(settings_of(settings, tmp_path / "new"), "worker", directory=package.parent)
            stack.callback(end, [new])
            await_that(lambda: signer_of(store, new_build), what="the new build is live")
            submitter.send_signal(signal.SIGSTOP)
            await_that(lambda: its_signer in store.statistics.undelivered(), what="it signs, nobody delivers")
            end([old])
            assert old.returncode == 0
            assert store.statistics.undelivered()[its_signer] > 0
            submitter.send_signal(signal.SIGCONT)
            await_that(lambda: its_signer not in store.statistics.undelivered(), what="all it signed is settled")
            owner.say("revokeMeasurement", old_build)
            asker.await_more()
        await_that(lambda: asker.settled == asker.asked, what="all settled")
        audit(chain, store, asker.asked)
        served = store.requests.latest(asker.asked)
        assert {(stored.attempts, stored.reason) for stored in served} == {(0, None)}  # none failed, none was repeated


def audit(chain: Chain, store: Store, asked: int) -> None:
    """What the chain says: each once, and no nonce left out."""
    assert list(chain.settlements().values()) == [1] * asked
    eventually(lambda: store.journal.sent(RELAY) == [], WITHIN_S, "nothing in flight")
    mined = RpcNode(chain.rpc).account(RELAY).nonce
    pending = quantity(chain.rpc.call("eth_getTransactionCount", hex_of(RELAY), "pending"))
    assert mined == pending == store.journal.next_nonce(RELAY, mined)


def back_up(source: Path, target: Path) -> None:
    """As docs/OPERATING.md says, while the pool runs."""
    with sqlite3.connect(source) as database, sqlite3.connect(target) as copy:
        database.backup(copy)


def test_old_backup_of_the_store_restored_every_request_settles_once(
    chain: Chain, settings: Settings, tmp_path: Path
) -> None:
    """P1, P3: the chain went on since: settled requests are found to be, used nonces are not used again."""
    store_file, copy = settings.data_dir / "pool.sqlite", tmp_path / "backup.sqlite"
    enclave, asked = FakeEnclave(), 0
    assert settings.enclave_socket is not None
    with serving(enclave, settings.enclave_socket):
        with running(settings), Store.open(settings.database) as store:
            asker = Asker(chain, store)
            with asker.asking():
                asker.await_more()
                back_up(store_file, copy)  # with some open, some signed, some sent
                asker.await_more(20)
            eventually(lambda: asker.settled == asker.asked, WITHIN_S, "all settled")
            asked = asker.asked
        for path in settings.data_dir.glob("pool.sqlite*"):
            path.unlink()
        shutil.copy(copy, store_file)
        with running(settings), Store.open(settings.database) as store:
            again = Asker(chain, store, asked)
            with again.asking():
                again.await_more()
            eventually(lambda: again.settled == again.asked, WITHIN_S, "all settled")
            audit(chain, store, again.asked)
