"""
Reorganisations of 1 to 64 blocks while a request is at each stage of its life (P5): real processes, real Anvil.

Each test stops the pool at one stage, takes blocks away, and lets it go on. Afterwards the chain is audited from
outside: whatever it says was asked is settled or expired once, the store says the same, and nonces have no gap.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from oracle import anvil
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.chain.node import RpcNode
from oracle.chain.rpc import quantity
from oracle.config import Settings
from oracle.enclave.measurement import measure
from oracle.enclave.protocol import Execute, ReceiptReply
from oracle.jobs.ports import FindContent
from oracle.store.rows import RequestState
from oracle.store.store import Store
from oracle.supervisor import Supervisor, running
from oracle.types.block import Created
from oracle.types.ids import Address, RequestId, hex_of
from tests.fakes import MEASUREMENT, FakeEnclave, eventually, serving
from tests.integration.conftest import Chain, build_chain, pool_settings

RELAY = Address(anvil.ACCOUNTS[1].address)
DEPTHS = (1, 2, 7, 33, 64)
FILLER = 4  # blocks between the request and what happens to it, so that some depths take the one and not the other
ENDED = (RequestState.SETTLED, RequestState.EXPIRED)


@dataclass
class GatedEnclave(FakeEnclave):
    """Makes receipts only while the gate is open."""

    gate: threading.Event = field(default_factory=threading.Event)

    def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
        self.gate.wait(5)
        return super().execute(message, find)


@dataclass
class Scene:
    """A chain, a pool on it, and the means to stop the pool where we want it."""

    chain: Chain
    store: Store
    pool: Supervisor
    enclave: GatedEnclave

    def mine(self, count: int) -> None:
        self.chain.rpc.call("anvil_mine", hex(count))

    @contextmanager
    def stopped(self, part: str) -> Iterator[None]:
        pid = eventually(lambda: self.pool.pids().get(part), what=f"the {part} runs")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def state(self, request_id: RequestId) -> RequestState | None:
        stored = self.store.requests.get(request_id)
        return None if stored is None else stored.state

    def await_state(self, request_id: RequestId, *states: RequestState) -> None:
        eventually(lambda: self.state(request_id) in states, 30, f"request is {states}")

    def ask(self, wait_s: int = 600) -> RequestId:
        request_id = self.chain.request(os.urandom(8), wait_s=wait_s).request.request_id
        self.mine(FILLER)
        return request_id

    def reorganise(self, depth: int) -> None:
        self.chain.rpc.call("anvil_reorg", depth, [])

    # -- stages: each brings a request there, takes blocks away, and lets the pool go on -------------------------------

    def seen(self, depth: int) -> None:
        """Waits for more confirmations than there are."""
        request_id = self.chain.request(os.urandom(8)).request.request_id
        self.await_state(request_id, RequestState.SEEN)
        self.reorganise(depth)
        self.mine(FILLER)

    def pending(self, depth: int) -> None:
        """The enclave computes."""
        self.enclave.gate.clear()
        self.await_state(self.ask(), RequestState.PENDING)
        self.reorganise(depth)
        self.mine(FILLER)
        self.enclave.gate.set()

    def executed(self, depth: int) -> None:
        """The receipt is signed and not sent."""
        with self.stopped("submitter"):
            self.await_state(self.ask(), RequestState.EXECUTED)
            self.reorganise(depth)
        self.mine(FILLER)

    def submitted(self, depth: int) -> None:
        """The transaction is sent and not mined."""
        with self.stopped("submitter"):
            request_id = self.ask()
            self.await_state(request_id, RequestState.EXECUTED)
            self.chain.rpc.call("evm_setAutomine", False)
        try:
            self.await_state(request_id, RequestState.SUBMITTED)
            self.reorganise(depth)
        finally:
            self.chain.rpc.call("evm_setAutomine", True)
        self.mine(FILLER)

    def mined_unread(self, depth: int) -> None:
        """It is mined, and the watcher has not seen it."""
        with contextlib.ExitStack() as stopped:
            with self.stopped("submitter"):
                request_id = self.ask()
                self.await_state(request_id, RequestState.EXECUTED)
                stopped.enter_context(self.stopped("watcher"))
            eventually(lambda: request_id in self.chain.settlements(), 30, "settled on chain")
            self.reorganise(depth)
        self.mine(FILLER)

    def settled(self, depth: int) -> None:
        """All is done."""
        self.await_state(self.ask(), RequestState.SETTLED)
        self.reorganise(depth)
        self.mine(FILLER)

    def expired(self, depth: int) -> None:
        """Nobody answered in time, and the consumer has its money back."""
        self.enclave.gate.clear()
        request_id = self.ask(wait_s=60)
        self.chain.rpc.call("evm_increaseTime", 120)
        self.mine(FILLER)
        self.await_state(request_id, RequestState.EXPIRED)
        self.reorganise(depth)
        self.enclave.gate.set()
        self.mine(FILLER)

    # -- audit ---------------------------------------------------------------------------------------------------------

    def asked(self) -> set[RequestId]:
        """What the chain says was asked."""
        events = self.chain.reader.events(0, self.chain.reader.head().number)
        return {event.request.request_id for event in events if isinstance(event, Created)}

    def is_done(self) -> bool:
        """Whether chain and store agree that everything has ended."""
        asked = self.asked()
        if asked != set(self.chain.settlements()) or self.store.journal.sent(RELAY):
            self.mine(1)  # what waits for confirmations, or for a deadline, needs blocks
            return False
        rows = self.store.requests.latest(1_000)
        return (
            {row.request_id for row in rows if row.state in ENDED}
            == asked
            == {row.request_id for row in rows if row.block_number is not None}
        )

    def audit(self) -> None:
        self.chain.request(b"one more")
        eventually(self.is_done, 60, "everything has ended")
        assert set(self.chain.settlements().values()) == {1}
        mined = RpcNode(self.chain.rpc).account(RELAY).nonce
        assert mined == quantity(self.chain.rpc.call("eth_getTransactionCount", hex_of(RELAY), "pending"))
        assert self.store.journal.next_nonce(RELAY, mined) == mined


@contextmanager
def scene(chain: Chain, settings: Settings) -> Iterator[Scene]:
    assert settings.enclave_socket is not None
    enclave = GatedEnclave()
    enclave.gate.set()
    with (
        serving(enclave, settings.enclave_socket),
        running(replace(settings, poll_interval_s=0.2)) as pool,
        Store.open(settings.database) as store,
    ):
        try:
            yield Scene(chain, store, pool, enclave)
        finally:
            enclave.gate.set()


@pytest.mark.parametrize("stage", ["pending", "executed", "submitted", "mined_unread", "settled", "expired"])
def test_reorganisation_at_any_stage_all_ends_once(chain: Chain, settings: Settings, stage: str) -> None:
    """P3, P5."""
    with scene(chain, settings) as at:
        for depth in DEPTHS:
            at.mine(max(0, depth - FILLER) + 2)  # the registration stays
            getattr(at, stage)(depth)
            at.audit()


def test_reorganisation_before_a_request_is_final_serves_nothing_twice(chain: Chain, settings: Settings) -> None:
    """P5, N8."""
    with scene(chain, replace(settings, finality="3")) as at:
        for depth in DEPTHS:
            at.mine(depth + 2)
            executed = len(at.enclave.executed)
            at.seen(depth)
            assert len(at.enclave.executed) == executed  # the chain took it back before anybody worked on it
            at.audit()


@pytest.mark.parametrize("depth", [7, 33, 64])
def test_reorganisation_that_takes_the_registration_the_enclave_registers_again(
    chain: Chain, settings: Settings, depth: int
) -> None:
    """P5."""
    chain.rpc.call("anvil_mine", hex(80))
    with scene(chain, settings) as at:
        at.await_state(at.ask(), RequestState.SETTLED)
        at.reorganise(depth)
        at.audit()


def test_reorganisations_under_load_all_ends_once(chain: Chain, settings: Settings) -> None:
    """P3, P5: at whatever stage each of them is."""
    chain.rpc.call("anvil_mine", hex(80))
    with scene(chain, settings) as at:
        at.mine(66)
        for depth in (1, 3, 12, 40, 64, 2):
            for _ in range(6):
                chain.request(os.urandom(8))
            at.reorganise(depth)
        at.audit()


@pytest.mark.parametrize("lost_blocks", [0, 3, 40])
def test_chain_restarted_from_an_older_state_the_pool_goes_on(tmp_path: Path, lost_blocks: int) -> None:
    """P5, N5: what came after the state was kept is undone, though the chain is merely shorter at first."""
    state = tmp_path / "chain.json"
    node = anvil.start(state=state)
    try:
        chain = build_chain(node, (MEASUREMENT, simulated_measurement(measure())))
        settings = replace(pool_settings(chain, tmp_path / "pool"), enclave_socket=tmp_path / "e.sock")
        with scene(chain, settings) as at:
            at.mine(10)
            at.await_state(at.ask(), RequestState.SETTLED)
            node.stop()
            node = anvil.start(node.port, state=state)
            if lost_blocks:
                text = state.read_bytes()
                at.await_state(at.ask(), RequestState.SETTLED)
                at.mine(max(0, lost_blocks - FILLER - 2))
                head = chain.reader.head().number
                eventually(lambda: at.store.chain.cursor().number == head, 30)
                node.process.kill()
                node.process.wait()
                state.write_bytes(text)
                node = anvil.start(node.port, state=state)
                assert chain.reader.head().number <= head - lost_blocks
            at.audit()
    finally:
        with contextlib.suppress(ProcessLookupError):
            node.stop()
