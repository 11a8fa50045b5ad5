"""A store with one pending request, and everything a job needs around it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from oracle.chain.gas import FeePolicy
from oracle.chain.submitter import Submitter
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import keccak256
from oracle.jobs.content import ContentStore, RegisteredPrograms
from oracle.jobs.execute import ExecuteDependencies
from oracle.jobs.ports import Enclave
from oracle.jobs.submit import SubmitDependencies
from oracle.jobs.sweep import SweepDependencies
from oracle.store.rows import Identity, RequestState, StoredRequest
from oracle.store.store import Store
from oracle.types.block import BlockRef, Created, Event
from oracle.types.ids import Address, ProgramId, RequestId
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.types.request import Request
from tests.fakes import FakeEnclave, FakeNode, FakeQueue, a_request

START = BlockRef(10, b"\x10" * 32, 1_700_000_000)
MANIFEST = Manifest(Engine.JS, Limits()).encode()
CODE = b"function main(input) { return input }"
PROGRAM = Program.of(MANIFEST, CODE)
INPUT = b"input"
RELAY = SigningKey(b"\x07" * 32)


@dataclass
class FakeRegistry:
    """`oracle.jobs.content.Registry`: one program, its code on chain or not."""

    published: dict[ProgramId, tuple[Program, bytes, bytes | None]] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    def program(self, program_id: ProgramId) -> Program | None:
        self.reads.append("program")
        found = self.published.get(program_id)
        return None if found is None else found[0]

    def manifest(self, program_id: ProgramId) -> bytes:
        self.reads.append("manifest")
        return self.published[program_id][1]

    def code(self, program_id: ProgramId) -> bytes | None:
        self.reads.append("code")
        return self.published[program_id][2]


@dataclass
class Bench:
    store: Store
    queue: FakeQueue
    enclave: FakeEnclave
    registry: FakeRegistry
    content: ContentStore
    node: FakeNode
    submitter: Submitter
    clock: list[int]

    def now_ms(self) -> int:
        return self.clock[0]

    @property
    def execute(self) -> ExecuteDependencies:
        programs = RegisteredPrograms(self.registry, self.content)
        payee = Address(RELAY.address)
        return ExecuteDependencies(self.store, programs, lambda: self.enclave, self.queue, payee, self.now_ms)

    @property
    def submit(self) -> SubmitDependencies:
        return SubmitDependencies(self.store, self.submitter, a_request().coprocessor, self.find_enclave)

    @property
    def sweep(self) -> SweepDependencies:
        return SweepDependencies(self.store, self.queue, self.now_ms)

    def find_enclave(self, signer: Address) -> Enclave | None:
        return self.enclave if self.enclave.key.address == signer else None

    def advance(self, *events: Event, timestamp_s: int | None = None) -> None:
        cursor = self.store.chain.cursor()
        number = cursor.number + 1
        stamp = cursor.timestamp_s + 1 if timestamp_s is None else timestamp_s
        block = BlockRef(number, keccak256(b"%d" % number), stamp)
        self.store.chain.advance(cursor, block, events, self.clock[0], self.clock[0] + 5_000)

    def ask(self, number: int = 0, **changes: object) -> RequestId:
        request: Request = replace(
            a_request(number),
            program_id=PROGRAM.program_id,
            input_hash=keccak256(INPUT),
            **changes,  # type: ignore[arg-type]
        )
        self.advance(Created(request, INPUT, self.store.chain.cursor().number + 1, b"\x01" * 32))
        return request.request_id

    def get(self, request_id: RequestId) -> StoredRequest:
        found = self.store.requests.get(request_id)
        assert found is not None
        return found

    def state(self, request_id: RequestId) -> RequestState:
        return self.get(request_id).state


@contextlib.contextmanager
def open_bench(directory: Path) -> Iterator[Bench]:
    clock = [1_700_000_000_000]
    with Store.open(f"sqlite:///{directory}/pool.sqlite", create=True) as store:
        store.chain.adopt(Identity(31337, a_request().coprocessor, START))
        node = FakeNode(RELAY)
        policy = FeePolicy(10**11, 10**9)
        submitter = Submitter(node, store.journal, RELAY, 31337, policy, lambda: clock[0])
        registry = FakeRegistry({PROGRAM.program_id: (PROGRAM, MANIFEST, CODE)})
        content = ContentStore(directory / "content")
        yield Bench(store, FakeQueue(), FakeEnclave(), registry, content, node, submitter, clock)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path) as opened:
        yield opened
