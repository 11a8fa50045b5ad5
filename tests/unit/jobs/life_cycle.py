"""A chain with a verifier, a registry and a relay, all in memory, around one enclave that is to be registered."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from oracle.jobs.collateral import CollateralDependencies, submit_call
from oracle.jobs.register import RegisterDependencies, ensure_registered
from oracle.jobs.submit import submit_registration
from oracle.store.rows import EnclaveState, StoredEnclave
from oracle.types.block import BlockRef
from oracle.types.ids import Address
from oracle.types.transaction import SentTransaction, TransactionKind
from tests.fake_verifier import FakeSource, FakeVerifier
from tests.fakes import PKI
from tests.unit.jobs.conftest import RELAY, START, Bench

DAY_S = 86_400
MAX_AGE_S = 30 * DAY_S


@dataclass
class FakeEnclaveRegistry:
    """`oracle.jobs.register.Registry`."""

    live: dict[Address, int] = field(default_factory=dict)

    def anchor(self) -> BlockRef:
        return START

    def live_until(self, signer: Address) -> int:
        return self.live.get(signer, 0)


@dataclass
class World:
    """`step` is what a worker does again and again, `deliver` what a submitter does, `mine` what the chain does."""

    bench: Bench
    verifier: FakeVerifier
    source: FakeSource
    registry: FakeEnclaveRegistry
    dependencies: RegisterDependencies
    woken: list[Address]

    @property
    def now_s(self) -> int:
        return self.bench.clock[0] // 1_000

    @property
    def signer(self) -> Address:
        return Address(self.bench.enclave.key.address)

    @property
    def stored(self) -> StoredEnclave:
        found = self.bench.store.enclaves.get(self.signer)
        assert found is not None
        return found

    @property
    def live_until_s(self) -> int:
        return self.registry.live[self.signer]

    def step(self) -> EnclaveState:
        state = ensure_registered(self.dependencies, self.bench.enclave)
        assert state is self.stored.state
        return state

    def deliver(self) -> list[TransactionKind]:
        """Take all messages; the kinds of what is in flight then."""
        woken, self.bench.queue.woken = self.bench.queue.woken, []
        for task, subject in woken:
            if task == "call":
                submit_call(self.bench.store, self.bench.submitter, subject)
            elif task == "register":
                submit_registration(self.bench.submit, Address(subject))
        return [transaction.newest.kind for transaction in self.sent]

    @property
    def sent(self) -> list[SentTransaction]:
        return self.bench.store.journal.sent(Address(RELAY.address))

    def mine(self) -> None:
        """Everything that is in flight is mined. What the verifier has meanwhile from elsewhere reverts."""
        for transaction in self.sent:
            newest, refusal = transaction.newest, self.verifier.refusal(transaction.newest.data)
            if newest.kind is TransactionKind.COLLATERAL and refusal is None:
                self.verifier.call(newest.data)
            elif newest.kind is TransactionKind.REGISTER:
                documents = self.verifier._documents.values()
                until_s = min(self.now_s + MAX_AGE_S, *(document.valid_until_s for document in documents))
                self.registry.live[self.signer] = max(until_s, self.registry.live_until(self.signer))
            self.bench.node.mine(newest.hash, succeeded=refusal is None)
        self.bench.submitter.tend()

    def travel(self, seconds: int) -> None:
        self.bench.clock[0] += 1_000 * seconds
        self.verifier.now_s = self.now_s
        for signer, until_s in list(self.registry.live.items()):
            if until_s < self.now_s:
                del self.registry.live[signer]

    def until(self, wanted: EnclaveState, most: int = 12) -> int:
        """Everybody does their part until the enclave is there; how many rounds it took."""
        for rounds in range(most):
            if self.step() is wanted:
                return rounds
            self.deliver()
            self.mine()
        raise AssertionError(f"not {wanted} but {self.stored} after {most} rounds")


def open_world(bench: Bench) -> World:
    verifier, source, registry = FakeVerifier(bench.clock[0] // 1_000), FakeSource(PKI), FakeEnclaveRegistry()
    bench.node.refuses = verifier.refusal
    woken: list[Address] = []
    collateral = CollateralDependencies(
        source, verifier, bench.store, bench.queue, lambda: bench.clock[0] // 1_000, bench.now_ms
    )
    dependencies = RegisterDependencies(
        bench.store,
        registry,
        bench.queue,
        collateral,
        31337,
        Address(b"\x08" * 20),
        Address(RELAY.address),
        bench.now_ms,
        woken.append,
    )
    return World(bench, verifier, source, registry, dependencies, woken)


@pytest.fixture
def world(bench: Bench) -> World:
    return open_world(bench)
