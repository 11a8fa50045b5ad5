"""
A chain for load: our contracts on Anvil, consumers that make many requests per transaction, and whoever pays for that.

The chain mines at once while it is set up. `mine_every` then makes it mine by the clock alone, as it does while
anything is measured.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from oracle import anvil
from oracle.chain.contracts import Abi, parse_artifact
from oracle.chain.publishing import publish
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc
from oracle.chain.signing import sign
from oracle.chain.wallet import Wallet
from oracle.config import Settings, load
from oracle.crypto.hashing import keccak256
from oracle.devnet import OWNER, prepare, wallet
from oracle.types.block import Created, Event, Settled
from oracle.types.ids import Address, PoolId, RequestId, hex_of, parse_hex
from oracle.types.pool import GWEI
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.types.transaction import Fees, TransactionKind

PER_TRANSACTION: Final = 25  # requests
CONSUMERS: Final = 8
MAX_FEE_WEI: Final = 10**15  # of a request
PROGRAM: Final = b"""
function main(input) {
  let sum = 0n;
  for (const byte of input) sum = (sum * 257n + BigInt(byte)) & 0xffffffffffffffffn;
  const output = new Uint8Array(32);
  new DataView(output.buffer).setBigUint64(24, sum);
  return output;
}"""
_CONSUMER: Final = Path(__file__).parent.parent / "build" / "artifacts" / "LoadConsumer.json"
_GAS_PER_REQUEST: Final = 70_000
_FEES: Final = Fees(1_000 * GWEI, GWEI)
_SEND_AT_ONCE: Final = 16  # transactions per round trip: Anvil takes 2 MB
_POLL_S: Final = 0.05
_SPAN: Final = 20  # blocks per answer


@dataclass
class Load:
    """Makes requests, and reads what became of them from the chain itself."""

    chain: anvil.Anvil
    rpc: Rpc
    settings: Settings
    owner: Wallet
    asker: Wallet
    program: Program
    interface: Abi
    consumers: Sequence[Address]
    _number: Iterator[int] = field(default_factory=itertools.count)
    _next: int | None = None  # nonce of `asker`

    @classmethod
    @contextmanager
    def running(cls, directory: Path, block_gas: int | None = None) -> Iterator[Self]:
        """
        A new chain that mines at once, with a program and consumers that have money; settings of a pool for it.

        Its blocks hold `block_gas`, or what Anvil's hold by default.
        """
        with anvil.running() as chain:
            rpc = Rpc(chain.rpc_url, timeout_s=60.0)
            if block_gas is not None:
                rpc.call("evm_setBlockGasLimit", hex(block_gas))
            deployment, file = prepare(chain, directory)
            owner, asker = wallet(rpc, OWNER), wallet(rpc, anvil.ACCOUNTS[2])
            registry = Address(parse_hex(deployment.program_registry, 20, "registry"))
            program = publish(owner, registry, Manifest(Engine.JS, Limits()).encode(), PROGRAM).program
            interface = parse_artifact("LoadConsumer", _CONSUMER.read_text())
            creation = interface.creation(
                deployment.coprocessor, program.program_id, parse_hex(deployment.pool_id, 32, "pool")
            )
            created = [asker.send(Address(b""), creation, 1_000 * 10**18) for _ in range(CONSUMERS)]
            consumers = [Address(parse_hex(receipt["contractAddress"], 20, "consumer")) for receipt in created]
            try:
                yield cls(chain, rpc, load(file, {}), owner, asker, program, interface, consumers)
            finally:
                rpc.close()

    @property
    def coprocessor(self) -> Address:
        """The contract."""
        return Address(parse_hex(self.settings.coprocessor or "", 20, "coprocessor"))

    @property
    def pool_id(self) -> PoolId:
        """The pool that is asked."""
        return PoolId(parse_hex(self.settings.pool_id or "", 32, "pool"))

    @property
    def reader(self) -> ChainReader:
        """What the chain says, from outside the pool."""
        return ChainReader(self.rpc, anvil.CHAIN_ID, self.coprocessor, self.pool_id, "no")

    def mine_every(self, seconds: int) -> None:
        """From now on a block per `seconds`, and no other. Anvil may owe some from before: first those."""
        self.rpc.call("evm_setAutomine", False)
        self.rpc.call("evm_setIntervalMining", seconds)
        waited_s = 0.0
        while waited_s < 0.8 * seconds:
            started = time.monotonic()
            self.await_blocks(1)
            waited_s = time.monotonic() - started

    def mine_at_once(self) -> None:
        """From now on a block per transaction."""
        self.rpc.call("evm_setIntervalMining", 0)
        self.rpc.call("evm_setAutomine", True)

    def requests(self, count: int, per_transaction: int = PER_TRANSACTION) -> list[bytes]:
        """Signed transactions that make `count` requests, all consumers in turn. To be sent in this order."""
        first, signed = self.nonce(self.asker.address) if self._next is None else self._next, []
        for place in range(-(-count // per_transaction)):
            seed = keccak256(next(self._number).to_bytes(32))
            calldata = self.interface.encode("askMany", seed, per_transaction, MAX_FEE_WEI)
            to, gas = self.consumers[place % CONSUMERS], per_transaction * _GAS_PER_REQUEST
            kind, key = TransactionKind.CALL, self.asker.key
            signed.append(sign(key, anvil.CHAIN_ID, first + place, kind, (), to, calldata, gas, _FEES).raw)
        self._next = first + len(signed)
        return signed

    def nonce(self, account: Address) -> int:
        """How many transactions of `account` are mined."""
        return int(self.rpc.call("eth_getTransactionCount", hex_of(account), "latest"), 16)

    def push(self, raws: Sequence[bytes]) -> None:
        """Hand signed transactions to the node, many per round trip."""
        for at in range(0, len(raws), _SEND_AT_ONCE):
            self.rpc.batch([("eth_sendRawTransaction", (hex_of(raw),)) for raw in raws[at : at + _SEND_AT_ONCE]])

    def mine_all(self) -> None:
        """Mine until nothing waits."""
        while int(self.rpc.call("txpool_status")["pending"], 16):
            self.rpc.call("evm_mine")

    def events(self, first: int, last: int) -> list[Event]:
        """What happened in these blocks."""
        found: list[Event] = []
        for at in range(first, last + 1, _SPAN):
            found += self.reader.events(at, min(last, at + _SPAN - 1))
        return found

    def head(self) -> int:
        """The newest block's number."""
        return self.reader.head().number

    def await_block(self, number: int) -> int:
        """Wait until there is this block; its number."""
        while self.head() < number:
            time.sleep(_POLL_S)
        return number

    def await_blocks(self, count: int) -> int:
        """Wait until there are `count` more blocks; the number of the newest."""
        return self.await_block(self.head() + count)

    def await_settled(self, begin: int, count: int, idle_blocks: int) -> int:
        """
        Wait until `count` requests are settled after the block `begin`, or none in so many blocks. The last block with
        a settlement.
        """
        settled, last, at = 0, begin, begin
        while settled < count and at - last < idle_blocks:
            at = self.await_block(at + 1)
            found = len(settled_among(self.events(at, at)))
            settled, last = settled + found, at if found else last
        return last

    def rate(self, begin: int, last: int) -> float:
        """
        Settled requests per second by the chain's clock, in the blocks after `begin`, to `last`. The first that settles
        any is where the clock starts, unless it is the only one.
        """
        events = settled_among(self.events(begin + 1, last)).values()
        blocks = {block.number: block.timestamp_s for block in self.reader.blocks(range(begin, last + 1)) if block}
        first = min((event.block_number for event in events), default=last)
        first = begin if first == last else first
        counted = sum(event.block_number > first for event in events)
        return counted / max(1, blocks[last] - blocks[first])


def created_among(events: Sequence[Event]) -> dict[RequestId, Created]:
    """The requests."""
    return {event.request.request_id: event for event in events if isinstance(event, Created)}


def settled_among(events: Sequence[Event]) -> dict[RequestId, Settled]:
    """The first settlement of each request."""
    found: dict[RequestId, Settled] = {}
    for event in events:
        if isinstance(event, Settled):
            found.setdefault(event.request_id, event)
    return found
