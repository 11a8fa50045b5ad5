"""
Fakes that pass the same suites as the real things: a chain that can be reorganised, a node, an enclave, a queue.

    FakeChain    oracle.chain.watcher.Chain      tests/unit/chain/test_chain_suite.py, real: Anvil
    FakeNode     oracle.chain.submitter.Node     tests/unit/chain/test_node_suite.py, real: Anvil
    FakeEnclave  oracle.jobs.ports.Enclave       tests/unit/jobs/test_enclave_suite.py, real: the enclave process
    FakeQueue    oracle.jobs.ports.Queue
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from oracle.attestation.development.dcap import DevelopmentPki
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.chain.errors import LogsTruncatedError, RevertedError, RpcError, TooManyLogsError
from oracle.chain.submitter import AccountState, Inclusion
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import keccak256
from oracle.enclave.protocol import (
    Attest,
    BatchSignature,
    Content,
    Describe,
    Description,
    EnclaveMessage,
    ErrorReply,
    Execute,
    HostMessage,
    Need,
    Quote,
    ReceiptReply,
    SignBatch,
    SignedReceipt,
    encode,
    parse_host_message,
    read_frame,
    write_frame,
)
from oracle.errors import ContentUnavailableError, EnclaveError, RetryableError
from oracle.jobs.ports import FindContent
from oracle.types.attestation import report_data
from oracle.types.block import BlockRef, Event
from oracle.types.ids import Address, MeasurementId, PoolId, ProgramId, RequestId
from oracle.types.program import Limits
from oracle.types.receipt import Outcome, Receipt, batch_digest
from oracle.types.request import Request
from oracle.types.transcript import Fetched, context_of

BUILD = keccak256(b"the build of fake enclaves")
MEASUREMENT = simulated_measurement(BUILD)
PKI = DevelopmentPki()
_Found = TypeVar("_Found")


def eventually(find: Callable[[], _Found], within_s: float = 20.0, what: str = "") -> _Found:
    """What `find` gives as soon as it is true. Waits for a condition, never for a time."""
    deadline = time.monotonic() + within_s
    while True:
        found = find()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what or find}")
        time.sleep(0.01)


def a_request(number: int = 0, **changes: object) -> Request:
    """A request; another number makes another id."""
    request = Request(
        chain_id=31337,
        coprocessor=Address(b"\xc0" * 20),
        consumer=Address(b"\xc1" * 20),
        program_id=ProgramId(b"\x0a" * 32),
        pool_id=PoolId(b"\x0b" * 32),
        input_hash=keccak256(b"input"),
        nonce=number,
        created_at_s=1_700_000_000,
        deadline_s=4_000_000_000,
        callback_gas=100_000,
        max_fee_gwei=1_000_000,
    )
    return replace(request, **changes)  # type: ignore[arg-type]


class FakeChain:
    """Blocks in memory. `max_events` per answer, `fails` makes the next calls raise."""

    _salt = itertools.count()  # of all chains, so that no two have a block in common

    def __init__(self, max_events: int = 1_000) -> None:
        self._blocks: list[tuple[BlockRef, tuple[Event, ...]]] = []
        self.max_events = max_events
        self.fails = 0
        self.tags: dict[str, int] = {}  # numbers of `safe` and `finalized`; unknown if missing
        self.lags = 0  # how many of the newest blocks it does not show
        self.truncates_over: int | None = None  # blocks per answer
        self.during_events: Callable[[], None] = lambda: None
        self.mine()

    def mine(self, *make: Callable[[int], Event]) -> BlockRef:
        """A block with the events that these functions make of its number."""
        number = len(self._blocks)
        block = BlockRef(number, keccak256(b"%d/%d" % (number, next(self._salt))), 1_700_000_000 + number)
        self._blocks.append((block, tuple(function(number) for function in make)))
        return block

    def reorganise(self, depth: int, *blocks: Sequence[Callable[[int], Event]]) -> None:
        """Replace the newest `depth` blocks by these, or by as many empty ones. The first block stays."""
        depth = min(depth, len(self._blocks) - 1)
        del self._blocks[len(self._blocks) - depth :]
        for events in blocks or [()] * depth:
            self.mine(*events)

    def canonical_events(self) -> list[Event]:
        """Everything that happened in the present history."""
        return [event for _, events in self._blocks for event in events]

    def head(self, tag: str = "latest") -> BlockRef:
        self._maybe_fail()
        if tag == "latest":
            return self._blocks[-1 - self.lags][0]
        if tag not in self.tags:
            raise RpcError("eth_getBlockByNumber", -32602, f"unknown block {tag}")
        return self._blocks[self.tags[tag]][0]

    def blocks(self, numbers: Sequence[int], *, by_majority: bool = False) -> list[BlockRef | None]:
        self._maybe_fail()
        shown = len(self._blocks) - self.lags
        return [self._blocks[number][0] if number < shown else None for number in numbers]

    def shorten(self, count: int) -> None:
        """Take the newest blocks away, as `anvil_rollback` does."""
        del self._blocks[len(self._blocks) - count :]

    def events(self, first: int, last: int) -> Sequence[Event]:
        self._maybe_fail()
        found = [event for _, events in self._blocks[first : last + 1] for event in events]
        if len(found) > self.max_events and last > first:
            raise TooManyLogsError("eth_getLogs", -32005, "limit exceeded")
        if self.truncates_over is not None and last - first >= self.truncates_over:
            raise LogsTruncatedError("fewer logs than the blocks hold")
        action, self.during_events = self.during_events, lambda: None
        action()
        return found

    def _maybe_fail(self) -> None:
        if self.fails > 0:
            self.fails -= 1
            raise RetryableError("the node is away")


class FakeNode:
    """A node with a mempool. Nothing is mined until `mine`."""

    def __init__(self, key: SigningKey) -> None:
        self.address = Address(key.address)
        self.balance_wei = 10**20
        self.base_fee_per_gas = 10**9
        self.pool: dict[bytes, bytes] = {}
        self.mined: dict[bytes, Inclusion] = {}
        self.nonce = 0
        self.height = 0
        self.reverts: RevertedError | None = None
        self.refuses: Callable[[bytes], RevertedError | None] = lambda data: None
        self.simulations = 0
        self.unreachable = False
        self.deaf = False  # loses what is broadcast
        self.mute = False  # refuses what is broadcast
        self.during_inclusions: Callable[[], None] = lambda: None

    def account(self, address: Address) -> AccountState:
        self._maybe_fail()
        return AccountState(self.nonce if address == self.address else 0, self.balance_wei, self.base_fee_per_gas)

    def simulate(self, sender: Address, to: Address, data: bytes, gas_limit: int) -> AccountState:
        self._maybe_fail()
        self.simulations += 1
        refused = self.reverts or self.refuses(data)
        if refused is not None:
            raise refused
        return self.account(sender)

    def estimate(self, sender: Address, to: Address, calldata: bytes) -> int:
        self.simulate(sender, to, calldata, 0)
        return 21_000

    def broadcast(self, raw: bytes) -> None:
        self._maybe_fail()
        if self.mute:
            raise RetryableError("the node takes no transactions")
        if not self.deaf:
            self.pool[keccak256(raw)] = raw

    def inclusions(self, each: Sequence[Sequence[bytes]]) -> list[Inclusion | None]:
        self._maybe_fail()
        self.during_inclusions()
        return [next((self.mined[value] for value in hashes if value in self.mined), None) for hashes in each]

    def mine(self, transaction_hash: bytes, *, succeeded: bool = True) -> None:
        """Include one transaction of the pool in a new block."""
        self.height += 1
        del self.pool[transaction_hash]
        self.mined[transaction_hash] = Inclusion(transaction_hash, self.height, succeeded)
        self.nonce += 1

    def unmine(self, transaction_hash: bytes) -> None:
        """Take the newest block away; its transaction is forgotten."""
        del self.mined[transaction_hash]
        self.nonce -= 1

    def _maybe_fail(self) -> None:
        if self.unreachable:
            raise RetryableError("the node is away")


@dataclass
class FakeEnclave:
    """Signs like an enclave and runs nothing: the output is the input reversed, the fuel its length."""

    key: SigningKey = field(default_factory=SigningKey)
    needs: tuple[bytes, ...] = ()
    outcome: Outcome = Outcome.COMPLETED
    measurement: MeasurementId = MEASUREMENT
    transcript: tuple[Fetched, ...] = ()
    executed: list[RequestId] = field(default_factory=list)

    def describe(self) -> Description:
        keys = (Address(self.key.address), b"\x05" * 32)
        return Description(*keys, self.measurement, "simulated", ("js", "wasm"), Limits())

    def attest(self, chain_id: int, registry: Address, operator: Address, anchor_block_hash: bytes) -> bytes:
        data = report_data(chain_id, registry, Address(self.key.address), b"\x05" * 32, operator, anchor_block_hash)
        return PKI.quote(QuoteKind.SGX_V3, data, BUILD)

    def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
        for needed in (message.manifest_hash, message.code_hash, *self.needs):
            content = find(needed)
            if content is None:
                raise ContentUnavailableError(needed)
            if keccak256(content) != needed:
                raise EnclaveError("content_mismatch", "the content is not what its hash says")
        request = message.request
        if keccak256(message.input) != request.input_hash:
            raise EnclaveError("inconsistent_request", "the input is not what the request commits to")
        output = message.input[::-1]
        context = context_of(self.transcript)
        receipt = Receipt(request.request_id, self.outcome, keccak256(output), len(output), message.payee, context)
        signature = self.key.sign(receipt.digest(request.chain_id, request.coprocessor))
        self.executed.append(request.request_id)
        signer = Address(self.key.address)
        made = receipt.request_id, self.outcome, output, receipt.fuel_used, message.payee
        return ReceiptReply(*made, signer, signature, ("a line",), self.transcript)

    def sign_batch(self, chain_id: int, coprocessor: Address, receipts: tuple[SignedReceipt, ...]) -> BatchSignature:
        plain = [item.receipt for item in receipts]
        for signed, receipt in zip(receipts, plain, strict=True):
            if self.key.sign(receipt.digest(chain_id, coprocessor)) != signed.signature:
                raise EnclaveError("foreign_receipt", "this receipt is not mine")
        return BatchSignature(Address(self.key.address), self.key.sign(batch_digest(plain, chain_id, coprocessor)))


class FakeQueue:
    """Remembers what was woken, in order."""

    def __init__(self) -> None:
        self.woken: list[tuple[str, bytes]] = []

    def execute(self, waiting: int = 1) -> None:
        self.woken.append(("execute", b""))

    def submit(self, request_id: RequestId) -> None:
        self.woken.append(("submit", request_id))

    def expire(self, request_id: RequestId) -> None:
        self.woken.append(("expire", request_id))

    def register(self, signer: Address) -> None:
        self.woken.append(("register", signer))

    def call(self, call_id: bytes) -> None:
        self.woken.append(("call", call_id))

    def sweep(self) -> None:
        self.woken.append(("sweep", b""))


@contextlib.contextmanager
def serving(enclave: FakeEnclave, path: Path) -> Iterator[FakeEnclave]:
    """`enclave` behind the real protocol on a real Unix socket, one thread per connection."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    open_connections: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_connections.append(connection)
                threading.Thread(target=_serve, args=(enclave, connection), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield enclave
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        path.unlink(missing_ok=True)


def _serve(enclave: FakeEnclave, connection: socket.socket) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            message = parse_host_message(read_frame(connection))
            try:
                reply = _reply(enclave, message, connection)
            except EnclaveError as error:
                reply = ErrorReply(error.code, str(error))
            write_frame(connection, encode(reply))


def _reply(enclave: FakeEnclave, message: HostMessage, connection: socket.socket) -> EnclaveMessage:
    def find(content_hash: bytes) -> bytes | None:
        write_frame(connection, encode(Need(content_hash)))
        answer = parse_host_message(read_frame(connection))
        assert isinstance(answer, Content)
        return answer.data

    match message:
        case Describe():
            return enclave.describe()
        case Attest(chain_id, registry, operator, anchor):
            return Quote(enclave.attest(chain_id, registry, operator, anchor))
        case Execute():
            return enclave.execute(message, find)
        case SignBatch(chain_id, coprocessor, receipts):
            return enclave.sign_batch(chain_id, coprocessor, receipts)
        case _:
            return ErrorReply("bad_message", "nobody asked for content")
