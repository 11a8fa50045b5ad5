"""
What the host reads from the chain: blocks, our events, programs, registrations.

Where several nodes have to agree they do so on all of it; where one node's word is enough, views are asked of one that
is at the head (`oracle.chain.rpc.JsonRpc`). How far an answer about events can be trusted is in `oracle.chain.spans`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from oracle.chain.blocks import Header, header
from oracle.chain.contracts import CREATED, EXPIRED, SETTLED, abi, decode_event, revert_error
from oracle.chain.errors import NodeBehindError, NodeInconsistentError, RevertedError, RpcError
from oracle.chain.rpc import JsonRpc, Rpc, data
from oracle.chain.spans import LogCheck, Query, read_logs
from oracle.crypto.eip712 import word
from oracle.errors import ChainMismatchError
from oracle.types.block import BlockRef, Event
from oracle.types.finality import Tag
from oracle.types.ids import Address, PoolId, ProgramId, hex_of
from oracle.types.program import Engine, Program

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChainReader:
    """Reads one deployment on one chain. `pool_id` None means all pools, `consumer` None all consumers."""

    rpc: JsonRpc
    chain_id: int
    coprocessor: Address
    pool_id: PoolId | None = None
    check_logs: LogCheck = "bloom"  # where one node's word is enough; where several must agree, they are the check
    consumer: Address | None = None

    def check(self) -> None:
        """
        Check that the node serves our chain and that our contract is there.

        Raises:
            ChainMismatchError: it does not, or there is no contract.
        """
        self.rpc.require_chain(self.chain_id)
        if not data(self.rpc.call("eth_getCode", hex_of(self.coprocessor), "latest")):
            raise ChainMismatchError(
                f"there is no contract at {hex_of(self.coprocessor)} on chain {self.chain_id}: "
                "was the development chain restarted? deploy again, or correct `coprocessor`"
            )

    def head(self, tag: Tag = "latest") -> BlockRef:
        """The newest block. `safe` and `finalized` are an `RpcError` on a chain that knows none."""
        return self.rpc.head(tag)

    def blocks(self, numbers: Sequence[int], *, by_majority: bool = False) -> list[BlockRef | None]:
        """
        The blocks with these numbers; None where the node has none yet. Neighbours follow one another.

        `by_majority` asks more than half of the nodes, for what would undo stored history.
        """
        calls = [("eth_getBlockByNumber", (hex(number), False)) for number in numbers]
        return self.rpc.agreed(
            lambda rpc: _linked(rpc, [None if answer is None else header(answer) for answer in rpc.batch(calls)]),
            by_majority=by_majority,
        )

    def block(self, number: int) -> BlockRef:
        """
        The block with this number.

        Raises:
            NodeBehindError: the node has none yet.
        """
        found = self.blocks([number, number + 1])[0]
        if found is None:
            raise NodeBehindError(f"the node at {self.rpc.name} has no block {number} yet")
        return found

    def events(self, first: int, last: int) -> list[Event]:
        """
        Our events of the blocks `first` to `last`, in order: requests of our pool and consumer, and all ends.

        Raises:
            TooManyLogsError, LogsTruncatedError: ask for fewer blocks.
            NodeBehindError, NodeInconsistentError: ask again.
        """
        pool = () if self.pool_id is None else (self.pool_id,)
        consumer = () if self.consumer is None else (word(self.consumer),)
        queries = [
            Query(self.coprocessor, ((CREATED,), (), pool, consumer)),
            Query(self.coprocessor, ((SETTLED, EXPIRED),)),
        ]
        check = self.check_logs if self.rpc.agreement == 1 else "no"
        return self.rpc.agreed(
            lambda rpc: [decode_event(log, self.chain_id) for log in read_logs(rpc, queries, first, last, check)]
        )

    def program(self, registry: Address, program_id: ProgramId) -> Program | None:
        """What the program id is the hash of, or None if it was never published."""
        try:
            engine, manifest_hash, code_hash = self.view("ProgramRegistry", registry, "program", program_id)
        except RevertedError as error:
            if error.name == "ProgramUnknown":
                return None
            raise
        return Program(Engine(engine), manifest_hash, code_hash)

    def manifest(self, registry: Address, program_id: ProgramId) -> bytes:
        """The manifest of a published program."""
        return bytes(self.view("ProgramRegistry", registry, "manifest", program_id))

    def code(self, registry: Address, program_id: ProgramId) -> bytes | None:
        """The code of a published program, or None if it is not on chain."""
        try:
            return bytes(self.view("ProgramRegistry", registry, "code", program_id))
        except RevertedError as error:
            if error.name in ("CodeNotOnChain", "ProgramUnknown"):
                return None
            raise

    def live_until(self, registry: Address, signer: Address) -> int:
        """The last second in which `signer` counts, 0 if it does not count now."""
        try:
            enclave = self.view("EnclaveRegistry", registry, "enclave", hex_of(signer))
        except RevertedError:
            return 0
        _measurement, _operator, live_until, live, _platform = enclave
        return int(live_until) if live else 0

    def view(self, contract: str, address: Address, function: str, *arguments: Any) -> Any:
        """
        Call a view function.

        Raises:
            RevertedError: the contract refuses.
            ChainMismatchError: there is no such contract.
        """
        interface = abi(contract)
        try:
            call = {"to": hex_of(address), "data": hex_of(interface.encode(function, *arguments))}
            returned = data(self._one_or_agreed(lambda rpc: rpc.call("eth_call", call, "latest")))
        except RpcError as error:
            if error.data or "revert" in error.message.lower():
                raise revert_error(error.data) from error
            raise
        if not returned:
            raise ChainMismatchError(
                f"there is no {contract} at {hex_of(address)}: correct the settings, or deploy again"
            )
        return interface.decode(function, returned)

    def _one_or_agreed(self, read: Callable[[Rpc], T]) -> T:
        return self.rpc.at_head(read) if self.rpc.agreement == 1 else self.rpc.agreed(read)


def _linked(rpc: Rpc, headers: Sequence[Header | None]) -> list[BlockRef | None]:
    """
    The blocks of these headers.

    Raises:
        NodeInconsistentError: one of them does not follow the one before it.
    """
    known = {item.block.number: item for item in headers if item is not None}
    for number, child in known.items():
        parent = known.get(number - 1)
        if parent is not None and child.parent_hash != parent.block.hash:
            raise NodeInconsistentError(f"the node at {rpc.name} gave a block {number} that does not follow its parent")
    return [None if item is None else item.block for item in headers]
