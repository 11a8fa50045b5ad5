"""
Each transition in docs/ARCHITECTURE.md, its owner killed -9 just before and just after it is committed (P1, P2, P3).

The parts are real processes on a real chain, with the fake enclave behind a real socket. See `tests.faults.dying`.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from oracle import anvil
from oracle.chain.publishing import publish
from oracle.config import Settings
from oracle.crypto.ecdsa import SigningKey
from oracle.store.rows import EnclaveState, RequestState
from oracle.store.schema import receipts, requests
from oracle.store.store import Store
from oracle.types.ids import Address, RequestId, hex_of, parse_hex
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.wiring import open_wallet
from tests.fakes import FakeEnclave, eventually, serving
from tests.faults.audit import audit
from tests.faults.keeper import Command, Keeper
from tests.faults.load import CONSUMERS
from tests.faults.world import a_chain, deployed, environment, reorganise
from tests.integration.conftest import Chain, pool_settings

WITHIN_S = 60.0
SETTLED, EXPIRED = RequestState.SETTLED, RequestState.EXPIRED
CAREFUL = CONSUMERS[0]  # its requests wait for two confirmations
MANIFEST = Manifest(Engine.JS, Limits()).encode()


@dataclass
class Scene:
    """A pool whose parts can be told when to die."""

    chain: Chain
    settings: Settings
    store: Store
    enclave: FakeEnclave
    directory: Path

    def arm(self, part: str, point: str, when: str) -> None:
        (self.directory / f"{part}.plan").write_text(f"{point} {when}")

    def is_armed(self, part: str) -> bool:
        return (self.directory / f"{part}.plan").exists()

    @contextmanager
    def stopped(self, part: str) -> Iterator[None]:
        """It stands still; if it is killed meanwhile, that was another."""
        pid = int((self.directory / f"{part}.pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def call(self, method: str, *parameters: object) -> None:
        self.chain.rpc.call(method, *parameters)

    def ask(self, wait_s: int = 600, chain: Chain | None = None) -> RequestId:
        return (chain or self.chain).request(os.urandom(8), wait_s=wait_s).request.request_id

    def is_in(self, request_id: RequestId, state: RequestState) -> bool:
        """Whether it is; what waits, for blocks or for the sweeper, need not wait for long."""
        found = self.store.requests.get(request_id)
        if found is not None and found.state in (RequestState.SEEN, RequestState.FAILED, RequestState.SUBMITTED):
            self.call("evm_mine")
        if found is not None and found.state is not state:
            self.hurry(request_id)
        return found is not None and found.state is state

    def hurry(self, request_id: RequestId) -> None:
        with self.store.requests._database.write() as connection:
            connection.execute(update(requests).where(requests.c.request_id == request_id).values(due_at_ms=0))

    def reach(self, request_id: RequestId, state: RequestState) -> None:
        eventually(partial(self.is_in, request_id, state), WITHIN_S, f"the request is {state}")

    # -- each leads a request, or several, through a transition --------------------------------------------------------

    def serve(self) -> None:
        self.reach(self.ask(), SETTLED)

    def serve_when_final(self) -> None:
        wallet = open_wallet(self.settings, self.chain.rpc, CAREFUL)
        self.reach(self.ask(chain=replace(self.chain, asker=wallet)), SETTLED)

    def publish_late(self) -> None:
        """The program is not there when it is asked for."""
        code = b"function main(input) { return input } // %s" % os.urandom(4).hex().encode()
        program_id = Program.of(MANIFEST, code).program_id
        request_id = self.chain.request(os.urandom(8), program_id=program_id).request.request_id
        self.reach(request_id, RequestState.FAILED)
        owner = open_wallet(self.settings, self.chain.rpc, anvil.ACCOUNTS[0])
        registry = Address(parse_hex(self.chain.deployment.program_registry, 20, "registry"))
        publish(owner, registry, MANIFEST, code)
        self.reach(request_id, SETTLED)

    def expire(self) -> None:
        """Its deadline is too near for anybody to take it."""
        request_id = self.ask(wait_s=2)
        self.reach(request_id, RequestState.FAILED)
        self.call("evm_increaseTime", 10)
        self.reach(request_id, EXPIRED)

    def revert(self) -> None:
        """The deadline passes while the transaction waits to be mined."""
        request_id = self._carried(self.ask(wait_s=60))
        self.reach(request_id, EXPIRED)

    def _carried(self, request_id: RequestId) -> RequestId:
        with self.stopped("submitter"):
            self.reach(request_id, RequestState.EXECUTED)
            self.call("evm_setAutomine", False)
        self._pass_deadline(request_id)
        return request_id

    def _pass_deadline(self, request_id: RequestId) -> None:
        def is_sent() -> bool:
            found = self.store.requests.get(request_id)
            return found is not None and found.state is RequestState.SUBMITTED

        eventually(is_sent, WITHIN_S, "the transaction is written down")
        self.call("evm_increaseTime", 70)
        self.call("evm_mine")
        self.call("evm_setAutomine", True)
        self.call("evm_mine")

    def lose_enclave(self) -> None:
        """It signed, and ended before anything was known of it."""
        with self.stopped("submitter"):
            request_id = self.ask()
            self.reach(request_id, RequestState.EXECUTED)
            unknown = SigningKey().address
            with self.store.requests._database.write() as connection:
                connection.execute(update(receipts).where(receipts.c.request_id == request_id).values(signer=unknown))
                connection.execute(update(requests).where(requests.c.request_id == request_id).values(executed_at_ms=0))

            def is_signed_again() -> bool:
                found = self.store.requests.receipt(request_id)
                return found is not None and found.signer == self.enclave.key.address

            eventually(is_signed_again, WITHIN_S, "it is executed again")
        self.reach(request_id, SETTLED)

    def take_back(self) -> None:
        """A reorganisation takes the block that settled it."""
        request_id = self.ask()
        self.reach(request_id, SETTLED)
        settled = self.store.requests.get(request_id)
        assert settled is not None
        assert settled.ended_block is not None
        reorganise(self.chain, self.chain.reader.head().number - settled.ended_block + 1)
        eventually(lambda: not self.is_armed("watcher"), WITHIN_S, "the watcher died")
        self.reach(request_id, SETTLED)

    def change_enclave(self) -> None:
        """The enclave starts again, with another key that has to be registered."""
        self.enclave.key = SigningKey()
        signer = Address(self.enclave.key.address)

        def is_live() -> bool:
            found = self.store.enclaves.get(signer)
            return found is not None and found.state is EnclaveState.LIVE

        eventually(is_live, WITHIN_S, "the new key is registered")
        self.serve()


TRANSITIONS = {
    "created": ("watcher", Scene.serve),
    "taken": ("worker", Scene.serve),
    "executed": ("worker", Scene.serve),
    "submitted": ("submitter", Scene.serve),
    "broadcast": ("submitter", Scene.serve),
    "mined": ("submitter", Scene.serve),
    "settled": ("watcher", Scene.serve),
    "final": ("watcher", Scene.serve_when_final),
    "failed": ("worker", Scene.publish_late),
    "tried again": ("worker", Scene.publish_late),
    "late": ("worker", Scene.expire),
    "expired": ("watcher", Scene.expire),
    "reverted": ("submitter", Scene.revert),
    "executed again": ("worker", Scene.lose_enclave),
    "rewound": ("watcher", Scene.take_back),
    "attested": ("worker", Scene.change_enclave),
    "registering": ("submitter", Scene.change_enclave),
    "live": ("worker", Scene.change_enclave),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One for all: starting it takes longer than what is tested."""
    directory = tmp_path_factory.mktemp("s")
    with a_chain() as chain:
        settings = replace(
            pool_settings(chain, directory / "p"),
            enclave_socket=directory / "e.sock",
            finality_of_consumer=(f"{hex_of(CAREFUL.address)}=2",),
            sweep_interval_s=0.1,
            poll_interval_s=0.2,
        )
        python = dict(environment(settings, "all"))
        python["PYTHONPATH"] = str(Path(__file__).parents[2])
        commands = {"broker": Command(("-m", "oracle.parts", str(os.getpid()), "broker"), python)}
        for part in ("watcher", "submitter", "worker"):
            commands[part] = Command(("-m", "tests.faults.dying", str(directory), part), python)
        enclave = FakeEnclave()
        assert settings.enclave_socket is not None
        with (
            serving(enclave, settings.enclave_socket),
            Store.open(settings.database, create=True) as store,
            Keeper(commands, directory / "log"),
        ):
            made = Scene(chain, settings, store, enclave, directory)
            eventually(lambda: [e for e in store.enclaves.newest() if e.state is EnclaveState.LIVE], 60, "ready")
            yield made


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", TRANSITIONS)
def test_owner_killed_at_a_transition_all_ends_once(scene: Scene, point: str, when: str) -> None:
    """P1, P2, P3."""
    part, lead = TRANSITIONS[point]
    scene.arm(part, point, when)
    lead(scene)
    eventually(lambda: not scene.is_armed(part), WITHIN_S, f"the {part} died")
    scene.serve()
    eventually(lambda: not scene.store.journal.sent(Address(anvil.ACCOUNTS[1].address)), WITHIN_S, "nothing in flight")
    assert audit(deployed(scene.chain)).faults == ()
