"""The node as the submitter sees it: `oracle.chain.submitter.Node` over JSON-RPC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from oracle.chain.contracts import revert_error
from oracle.chain.errors import NodeBehindError, RpcError
from oracle.chain.rpc import Call, JsonRpc, Rpc, data, quantity
from oracle.chain.submitter import AccountState, Inclusion
from oracle.types.ids import Address, hex_of

_ALREADY_THERE = ("already known", "already imported", "nonce too low", "known transaction", "already exists")


@dataclass(frozen=True, slots=True)
class RpcNode:
    """One round trip each to a node that is at the head; where several nodes must agree, they agree on nonces."""

    rpc: JsonRpc

    def account(self, address: Address) -> AccountState:
        """Nonce, balance and base fee at the newest block."""
        return self._agreed_nonce(address, _account_state(self.rpc.batch(_account_calls(address))))

    def simulate(self, sender: Address, to: Address, data: bytes, gas_limit: int) -> AccountState:
        """
        Run a call on the newest block without sending it.

        Raises:
            RevertedError: the contract refuses.
        """
        call = {"from": hex_of(sender), "to": hex_of(to), "data": hex_of(data), "gas": hex(gas_limit)}
        try:
            answers = self.rpc.batch([*_account_calls(sender), ("eth_call", (call, "latest"))])
        except RpcError as error:
            if error.method == "eth_call":
                raise revert_error(error.data) if error.data or "revert" in error.message.lower() else error from error
            raise
        return self._agreed_nonce(sender, _account_state(answers))

    def estimate(self, sender: Address, to: Address, calldata: bytes, value_wei: int = 0) -> int:
        """The gas that a call takes now. Raises `RevertedError`."""
        call = {"from": hex_of(sender), "data": hex_of(calldata), "value": hex(value_wei)}
        if to:
            call["to"] = hex_of(to)
        try:
            return quantity(self.rpc.call("eth_estimateGas", call))
        except RpcError as error:
            raise revert_error(error.data) if error.data or "revert" in error.message.lower() else error from error

    def broadcast(self, raw: bytes) -> None:
        """Hand over a signed transaction, to every node; having it already is fine."""
        self.rpc.each(lambda rpc: _send(rpc, raw))

    def inclusions(self, each: Sequence[Sequence[bytes]]) -> list[Inclusion | None]:
        """For each nonce, given by the hashes of its transactions, where one of them was mined, or None."""
        calls = [("eth_getTransactionReceipt", (hex_of(value),)) for hashes in each for value in hashes]

        def read(rpc: Rpc) -> list[Inclusion | None]:
            answers = iter(rpc.batch(calls))
            return [_first_inclusion([next(answers) for _ in hashes]) for hashes in each]

        return self.rpc.agreed(read) if calls else []

    def _agreed_nonce(self, address: Address, state: AccountState) -> AccountState:
        """One liar that names a nonce too high would make a gap that nothing fills."""
        if self.rpc.agreement == 1:
            return state
        nonce = self.rpc.at_least(lambda rpc: quantity(rpc.call("eth_getTransactionCount", hex_of(address), "latest")))
        return replace(state, nonce=nonce)


def _send(rpc: Rpc, raw: bytes) -> None:
    try:
        rpc.call("eth_sendRawTransaction", hex_of(raw))
    except RpcError as error:
        if not any(words in error.message.lower() for words in _ALREADY_THERE):
            raise


def _first_inclusion(answers: Sequence[Any]) -> Inclusion | None:
    for tx_receipt in answers:
        if isinstance(tx_receipt, dict) and tx_receipt.get("blockNumber") is not None:
            number, status = quantity(tx_receipt["blockNumber"]), quantity(tx_receipt["status"])
            return Inclusion(data(tx_receipt["transactionHash"]), number, status == 1, _cost(tx_receipt))
    return None


def _cost(tx_receipt: dict[str, Any]) -> int:
    """Wei; 0 from a node that does not say."""
    return quantity(tx_receipt.get("gasUsed", "0x0")) * quantity(tx_receipt.get("effectiveGasPrice", "0x0"))


def _account_calls(address: Address) -> list[Call]:
    return [
        ("eth_getTransactionCount", (hex_of(address), "latest")),
        ("eth_getBalance", (hex_of(address), "latest")),
        ("eth_getBlockByNumber", ("latest", False)),
    ]


def _account_state(answers: Sequence[Any]) -> AccountState:
    nonce, balance, block = answers[:3]
    if not isinstance(block, dict):
        raise NodeBehindError("the node gave no block")
    return AccountState(quantity(nonce), quantity(balance), quantity(block.get("baseFeePerGas", "0x0")))
