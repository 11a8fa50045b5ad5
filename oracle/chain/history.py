"""
Look for something in the past: logs of one contract, the newest first, and what the transactions behind them said.

Ranges are as long as the node allows: the whole one is asked for first, and halved while the node refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from oracle.chain.contracts import CREATED, EXPIRED, SETTLED, abi, decode_event
from oracle.chain.errors import LogsTruncatedError, TooManyLogsError
from oracle.chain.rpc import JsonRpc, Rpc, data
from oracle.chain.spans import Log, Query, read_logs
from oracle.types.block import Created, Expired, Settled
from oracle.types.ids import Address, RequestId, hex_of


def newest(rpc: JsonRpc, query: Query, first: int, last: int) -> Iterator[Log]:
    """
    The logs of the blocks `first` to `last` that match, the newest first; no more is read than is asked for.

    Raises:
        RetryableError: the chain could not be read, or does not have `last` yet.
        TooManyLogsError: more in one block than the node gives.
    """
    span = last - first + 1
    while last >= first:
        start = max(first, last - span + 1)
        try:
            logs = _read(rpc, query, start, last)
        except (TooManyLogsError, LogsTruncatedError):
            if start == last:
                raise
            span = (last - start + 1) // 2
            continue
        yield from reversed(logs)
        last = start - 1


def _read(rpc: JsonRpc, query: Query, first: int, last: int) -> Sequence[Log]:
    def read(node: Rpc) -> list[Log]:
        return read_logs(node, [query], first, last, "no")

    return rpc.agreed(read)


def find_created(
    rpc: JsonRpc, chain_id: int, coprocessor: Address, request_id: RequestId, first: int, last: int
) -> Created | None:
    """The event that made the request, or None if it is not in these blocks. Raises as `newest`."""
    query = Query(coprocessor, ((CREATED,), (request_id,)))
    event = next((decode_event(log, chain_id) for log in newest(rpc, query, first, last)), None)
    return event if isinstance(event, Created) else None


def find_ending(
    rpc: JsonRpc, chain_id: int, coprocessor: Address, request_id: RequestId, first: int, last: int
) -> Settled | Expired | None:
    """The event that ended the request, or None if it is not in these blocks. Raises as `newest`."""
    query = Query(coprocessor, ((SETTLED, EXPIRED), (request_id,)))
    event = next((decode_event(log, chain_id) for log in newest(rpc, query, first, last)), None)
    return event if isinstance(event, Settled | Expired) else None


def arguments_behind(rpc: JsonRpc, log: Log, contract: str, function: str) -> tuple[Any, ...] | None:
    """
    What `function` of the contract that emitted `log` was called with, or None if the transaction behind the log called
    something else, such as a contract that called it in turn.
    """
    transaction = rpc.call("eth_getTransactionByHash", hex_of(data(log["transactionHash"])))
    if not isinstance(transaction, dict) or data(transaction.get("to") or "0x") != data(log["address"]):
        return None
    selector, inputs, _ = abi(contract).functions[function]
    calldata = data(transaction.get("input"))
    if calldata[:4] != selector:
        return None
    try:
        return tuple(abi_decode(inputs, calldata[4:]))
    except DecodingError:
        return None
