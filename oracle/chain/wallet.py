"""
One account that sends one transaction at a time and waits for it: for deploying, publishing and asking, from the
command line.

Not for relays: it keeps no journal, so a crash forgets what was sent. `oracle.chain.submitter` is for those.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from oracle.chain.contracts import abi
from oracle.chain.errors import FeeTooHighError, NodeUnreachableError, RelayUnfundedError, RevertedError
from oracle.chain.gas import FeePolicy
from oracle.chain.node import RpcNode
from oracle.chain.rpc import JsonRpc
from oracle.chain.signing import sign
from oracle.crypto.ecdsa import SigningKey
from oracle.types.ids import Address, hex_of, parse_hex
from oracle.types.transaction import TransactionKind

_POLL_S = 0.02
_CREATE = Address(b"")


@dataclass(frozen=True, slots=True)
class Wallet:
    """A key, a node, and what it pays."""

    rpc: JsonRpc
    key: SigningKey
    chain_id: int
    policy: FeePolicy
    timeout_s: float = 120.0  # for a transaction to be mined

    @property
    def address(self) -> Address:
        """The account."""
        return Address(self.key.address)

    def send(self, to: Address, data: bytes, value_wei: int = 0) -> dict[str, Any]:
        """
        The node's transaction receipt of a call that was mined and succeeded. `to` empty creates a contract.

        Raises:
            RevertedError: the contract refuses; nothing was sent.
            FeeTooHighError, RelayUnfundedError: gas is too dear, or the account too poor.
            NodeUnreachableError: the node is away, or the transaction was not mined in time.
        """
        node = RpcNode(self.rpc)
        state = node.account(self.address)
        fees = self.policy.fees(state.base_fee_per_gas)
        if fees is None:
            raise FeeTooHighError(f"the base fee is {state.base_fee_per_gas} wei: over max_fee_per_gas_gwei")
        if state.balance_wei <= value_wei:
            raise RelayUnfundedError(
                f"the account {hex_of(self.address)} has {state.balance_wei} wei: send it some ether"
            )
        gas = node.estimate(self.address, to, data, value_wei)
        limit = gas + gas // 4
        signed = sign(
            self.key, self.chain_id, state.nonce, TransactionKind.CALL, (), to, data, limit, fees, value_wei=value_wei
        )
        node.broadcast(signed.raw)
        tx_receipt = self._mined(signed.hash)
        if tx_receipt["status"] != "0x1":
            raise RevertedError("reverted, though its simulation succeeded")
        return tx_receipt

    def create(self, name: str, *arguments: Any) -> Address:
        """The address of a new contract."""
        tx_receipt = self.send(_CREATE, abi(name).creation(*arguments))
        return Address(parse_hex(tx_receipt["contractAddress"], 20, "contract address"))

    def call(self, name: str, to: Address, function: str, *arguments: Any, value_wei: int = 0) -> dict[str, Any]:
        """The node's transaction receipt of a call of `function` of the contract `name` at `to`."""
        return self.send(to, abi(name).encode(function, *arguments), value_wei)

    def _mined(self, transaction_hash: bytes) -> dict[str, Any]:
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            tx_receipt = self.rpc.call("eth_getTransactionReceipt", hex_of(transaction_hash))
            if isinstance(tx_receipt, dict):
                return tx_receipt
            time.sleep(_POLL_S)
        raise NodeUnreachableError(
            f"transaction {hex_of(transaction_hash)} was not mined within {self.timeout_s:.0f} s"
        )
