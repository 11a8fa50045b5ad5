"""What the host reads from the chain: blocks, our events, programs, registrations. One round trip each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oracle.chain.contracts import CREATED, EXPIRED, SETTLED, abi, decode_event, revert_error
from oracle.chain.errors import NodeBehindError, RevertedError, RpcError
from oracle.chain.rpc import Rpc, data, quantity
from oracle.errors import ChainMismatchError, EncodingError
from oracle.types.block import BlockRef, Event
from oracle.types.ids import Address, PoolId, ProgramId, hex_of
from oracle.types.program import Engine, Program


@dataclass(frozen=True, slots=True)
class ChainReader:
    """Reads one deployment on one chain. `pool_id` None means all pools."""

    rpc: Rpc
    chain_id: int
    coprocessor: Address
    pool_id: PoolId | None = None

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

    def head(self) -> BlockRef:
        """The newest block."""
        return _block(self.rpc.call("eth_getBlockByNumber", "latest", False))

    def blocks(self, numbers: Sequence[int]) -> list[BlockRef | None]:
        """The blocks with these numbers; None where the node has none yet."""
        calls = [("eth_getBlockByNumber", (hex(number), False)) for number in numbers]
        return [None if answer is None else _block(answer) for answer in self.rpc.batch(calls)]

    def block(self, number: int) -> BlockRef:
        """
        The block with this number.

        Raises:
            NodeBehindError: the node has none yet.
        """
        found = self.blocks([number])[0]
        if found is None:
            raise NodeBehindError(f"the node at {self.rpc.url} has no block {number} yet")
        return found

    def events(self, first: int, last: int) -> list[Event]:
        """
        Our events of the blocks `first` to `last`, in order: requests of our pool, and all ends.

        Raises:
            TooManyLogsError: ask for fewer blocks.
        """
        span = {"address": hex_of(self.coprocessor), "fromBlock": hex(first), "toBlock": hex(last)}
        created = [hex_of(CREATED), None, None if self.pool_id is None else hex_of(self.pool_id)]
        ended = [[hex_of(SETTLED), hex_of(EXPIRED)]]
        logs = self.rpc.batch(
            [("eth_getLogs", [{**span, "topics": created}]), ("eth_getLogs", [{**span, "topics": ended}])]
        )
        if not all(isinstance(answer, list) for answer in logs):
            raise EncodingError("the node gave something else than logs")
        ordered = sorted((log for answer in logs for log in answer), key=_position)
        return [decode_event(log, self.chain_id) for log in ordered if not log.get("removed")]

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
        _measurement, _operator, live_until, live = enclave
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
            returned = data(self.rpc.call("eth_call", call, "latest"))
        except RpcError as error:
            if error.data or "revert" in error.message.lower():
                raise revert_error(error.data) from error
            raise
        if not returned:
            raise ChainMismatchError(
                f"there is no {contract} at {hex_of(address)}: correct the settings, or deploy again"
            )
        return interface.decode(function, returned)


def _block(answer: Any) -> BlockRef:
    if not isinstance(answer, dict):
        raise NodeBehindError("the node gave no block")
    return BlockRef(quantity(answer.get("number")), data(answer.get("hash")), quantity(answer.get("timestamp")))


def _position(log: dict[str, Any]) -> tuple[int, int]:
    return quantity(log["blockNumber"]), quantity(log["logIndex"])
