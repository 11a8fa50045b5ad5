"""
Read the logs of a span of blocks from one node, and check that they are whole.

What is checked, in all modes, so that a node which lags or is served by several machines is noticed:
S1. The node has the last block of the span. (Some nodes answer for blocks that they do not have with fewer logs.)

With `bloom`, by the headers of the span and the one before it:
S2. Each header names the one before it as its parent.
S3. Each log is of the block that its header names.
S4. A block whose filter says that it may hold a log of ours, and for which none was given, is asked for its transaction
    receipts: none of ours is in them.

With `receipts`, every block whose filter matches is asked for its receipts, given logs or not:
S5. The logs given are exactly those in the receipts.

With one node, `bloom` finds an answer that was cut between blocks, or whose blocks were left out, and answers from
different histories. It does not find an answer cut in the middle of one block (`receipts` does, for the size of the
receipts), nor a node that forges headers and receipts to match: headers are not hashed here, and a node that invents a
whole history is believed. Only other nodes help against that: `rpc_agreement`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from oracle.chain.blocks import Header, data, header, quantity
from oracle.chain.errors import LogsTruncatedError, NodeBehindError, NodeInconsistentError, RpcError
from oracle.chain.rpc import Rpc
from oracle.errors import EncodingError
from oracle.types.ids import Address, hex_of

LogCheck = Literal["bloom", "receipts", "no"]
Log = Mapping[str, Any]
_HEADERS_PER_CALL = 100


@dataclass(frozen=True, slots=True)
class Query:
    """Logs of one contract. `topics` by position: any of these, or anything if empty."""

    address: Address
    topics: tuple[tuple[bytes, ...], ...]

    def filter(self, **where: str) -> dict[str, Any]:
        """As `eth_getLogs` wants it."""
        topics = [[hex_of(topic) for topic in choices] or None for choices in self.topics]
        return {"address": hex_of(self.address), "topics": topics, **where}

    def matches(self, log: Log) -> bool:
        """Whether `log` is one of these."""
        topics = [data(topic) for topic in log["topics"]]
        if data(log["address"]) != self.address or len(topics) < len(self.topics):
            return False
        pairs = zip(self.topics, topics, strict=False)
        return all(not choices or topic in choices for choices, topic in pairs)

    def may_be_in(self, block: Header) -> bool:
        """False if the block's filter rules these logs out."""
        return block.may_hold(self.address) and all(
            not choices or any(block.may_hold(topic) for topic in choices) for choices in self.topics
        )


def read_logs(rpc: Rpc, queries: Sequence[Query], first: int, last: int, check: LogCheck) -> list[Log]:
    """
    The logs of the blocks `first` to `last` that match any of `queries`, in order.

    Raises:
        NodeBehindError: the node does not have all of these blocks.
        NodeInconsistentError, LogsTruncatedError: S2 to S5 do not hold.
        TooManyLogsError: ask for fewer blocks.
    """
    span = {"fromBlock": hex(first), "toBlock": hex(last)}
    before = first - 1 if check != "no" and first > 0 else first
    numbers = range(before, last + 1) if check != "no" else range(last, last + 1)
    calls = [("eth_getLogs", [query.filter(**span)]) for query in queries]
    answers = rpc.batch([*calls, *_header_calls(numbers[:_HEADERS_PER_CALL])])
    found, blocks = answers[: len(calls)], answers[len(calls) :]
    if not all(isinstance(answer, list) for answer in found):
        raise EncodingError("the node gave something else than logs")
    try:
        logs = sorted((log for answer in found for log in answer if not log.get("removed")), key=_position)
    except (KeyError, AttributeError, TypeError) as error:
        raise EncodingError("the node gave something else than logs") from error
    for at in range(_HEADERS_PER_CALL, len(numbers), _HEADERS_PER_CALL):
        blocks += rpc.batch(_header_calls(numbers[at : at + _HEADERS_PER_CALL]))
    if blocks[-1] is None:
        raise NodeBehindError(f"the node at {rpc.name} has no block {last} yet")
    if check != "no":
        headers = _linked(rpc, [header(block) for block in blocks], numbers)
        _require_whole(rpc, queries, headers[first - before :], logs, every=check == "receipts")
    return logs


def _linked(rpc: Rpc, headers: list[Header], numbers: Sequence[int]) -> list[Header]:
    """S2."""
    if [item.block.number for item in headers] != list(numbers):
        raise NodeInconsistentError(f"the node at {rpc.name} gave other blocks than were asked for")
    for parent, child in itertools.pairwise(headers):
        if child.parent_hash != parent.block.hash:
            raise NodeInconsistentError(
                f"the node at {rpc.name} gave a block {child.block.number} that does not follow its block "
                f"{parent.block.number}"
            )
    return headers


def _require_whole(
    rpc: Rpc, queries: Sequence[Query], headers: Sequence[Header], logs: Sequence[Log], *, every: bool
) -> None:
    """S3, S4, S5."""
    given: dict[int, list[Log]] = {item.block.number: [] for item in headers}
    hashes = {item.block.number: item.block.hash for item in headers}
    for log in logs:
        number = quantity(log["blockNumber"])
        if number not in given or data(log.get("blockHash")) != hashes[number]:
            raise NodeInconsistentError(f"the node at {rpc.name} gave a log of a block {number} that is not its own")
        given[number].append(log)
    for item in headers:
        of_block = given[item.block.number]
        if (every or not of_block) and any(query.may_be_in(item) for query in queries):
            held = _logs_of_block(rpc, queries, item)
            if [_identity(log) for log in held] != [_identity(log) for log in of_block]:
                raise LogsTruncatedError(
                    f"the node at {rpc.name} gave {len(of_block)} of the {len(held)} logs in block {item.block.number}"
                )


def _logs_of_block(rpc: Rpc, queries: Sequence[Query], item: Header) -> list[Log]:
    """Ours in the transaction receipts of a block; where the node has no such method, by the block's hash."""
    try:
        tx_receipts = rpc.call("eth_getBlockReceipts", hex(item.block.number))
    except RpcError:
        answers = rpc.batch([("eth_getLogs", [query.filter(blockHash=hex_of(item.block.hash))]) for query in queries])
        return sorted((log for answer in answers for log in answer or ()), key=_position)
    if tx_receipts is None:
        raise NodeBehindError(f"the node at {rpc.name} has no receipts of block {item.block.number} yet")
    if any(data(tx_receipt.get("blockHash")) != item.block.hash for tx_receipt in tx_receipts):
        raise NodeInconsistentError(f"the node at {rpc.name} gave receipts of another block {item.block.number}")
    logs = (log for tx_receipt in tx_receipts for log in tx_receipt["logs"])
    return sorted((log for log in logs if any(query.matches(log) for query in queries)), key=_position)


def _header_calls(numbers: Sequence[int]) -> list[tuple[str, Sequence[Any]]]:
    return [("eth_getBlockByNumber", (hex(number), False)) for number in numbers]


def _position(log: Log) -> tuple[int, int]:
    return quantity(log["blockNumber"]), quantity(log["logIndex"])


def _identity(log: Log) -> tuple[int, bytes, tuple[str, ...]]:
    return quantity(log["logIndex"]), data(log["data"]), tuple(log["topics"])
