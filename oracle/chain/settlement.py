"""
What became of a request, as the chain tells it: from the Coprocessor's events and the calldata that settled it.

The output itself is not logged, only carried as calldata; so it can be read back for settlements that were sent
straight to the Coprocessor, and is None for those that went through another contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from oracle.chain.contracts import EXPIRED, SETTLED, abi, decode_event
from oracle.chain.rpc import JsonRpc, data
from oracle.crypto.hashing import keccak256
from oracle.types.block import Expired, Settled
from oracle.types.ids import Address, PoolId, RequestId, hex_of
from oracle.types.receipt import Outcome, Receipt


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the settling transaction carried. `receipts` has one entry, or all of its batch in order."""

    pool_id: PoolId
    receipts: tuple[Receipt, ...]
    outputs: tuple[bytes, ...]
    proof: bytes
    is_batch: bool

    def position(self, request_id: RequestId) -> int | None:
        """Where in the batch the request is."""
        return next((at for at, receipt in enumerate(self.receipts) if receipt.request_id == request_id), None)


def find_end(
    rpc: JsonRpc, chain_id: int, coprocessor: Address, request_id: RequestId, first_block: int
) -> Settled | Expired | None:
    """The event that ended the request, or None while it is open or unknown."""
    query = {
        "address": hex_of(coprocessor),
        "fromBlock": hex(first_block),
        "toBlock": "latest",
        "topics": [[hex_of(SETTLED), hex_of(EXPIRED)], hex_of(request_id)],
    }
    logs = rpc.call("eth_getLogs", query)
    event = decode_event(logs[0], chain_id) if logs else None
    return event if isinstance(event, Settled | Expired) else None


def open_among(rpc: JsonRpc, coprocessor: Address, pool_id: PoolId, request_ids: Sequence[RequestId]) -> set[RequestId]:
    """Those of these requests that are open at the newest block, in one round trip."""
    function = abi("Coprocessor")
    calls = [
        (
            "eth_call",
            (
                {"to": hex_of(coprocessor), "data": hex_of(function.encode("openRequest", request_id, pool_id))},
                "latest",
            ),
        )
        for request_id in request_ids
    ]
    return {request_id for request_id, answer in zip(request_ids, rpc.batch(calls), strict=True) if any(data(answer))}


def read_delivery(rpc: JsonRpc, coprocessor: Address, transaction_hash: bytes) -> Delivered | None:
    """What the transaction delivered, or None if it did not call the Coprocessor itself."""
    transaction = rpc.call("eth_getTransactionByHash", hex_of(transaction_hash))
    if not isinstance(transaction, dict) or data(transaction.get("to") or "0x") != coprocessor:
        return None
    return decode_delivery(data(transaction.get("input")))


def decode_delivery(calldata: bytes) -> Delivered | None:
    """The delivery that `calldata` of `fulfill` or `fulfillBatch` carries, or None for any other call."""
    functions = abi("Coprocessor").functions
    name = next((name for name in ("fulfill", "fulfillBatch") if functions[name][0] == calldata[:4]), None)
    if name is None:
        return None
    try:
        values = abi_decode(functions[name][1], calldata[4:])
    except DecodingError:
        return None
    deliveries: Sequence[Any]
    if name == "fulfill":
        request_id, outcome, context, pool_id, fuel_used, payee, output, proof = values
        deliveries = [(request_id, fuel_used, outcome, output, context)]
    else:
        pool_id, deliveries, payee, proof = values
    account = Address(bytes.fromhex(payee.removeprefix("0x")))
    receipts = tuple(
        Receipt(RequestId(request_id), Outcome(outcome), keccak256(output), fuel_used, account, context)
        for request_id, fuel_used, outcome, output, context in deliveries
    )
    return Delivered(PoolId(pool_id), receipts, tuple(item[3] for item in deliveries), proof, name == "fulfillBatch")
