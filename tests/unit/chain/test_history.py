"""Searching the past through a node that gives few logs at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.chain.contracts import abi
from oracle.chain.errors import NodeBehindError, TooManyLogsError
from oracle.chain.history import arguments_behind, newest
from oracle.chain.rpc import Call, quantity
from oracle.chain.spans import Query
from oracle.types.ids import Address

CONTRACT = Address(b"\xc0" * 20)
QUERY = Query(CONTRACT, ((b"\x01" * 32,),))


@dataclass
class FewLogs:
    """One node with a log in each of `numbers`; it refuses to give more than `limit` at once."""

    numbers: Sequence[int]
    head: int
    limit: int
    spans: list[tuple[int, int]] = field(default_factory=list)
    transaction: Any = None
    name = "few"

    def agreed(self, read: Any) -> Any:
        return read(self)

    def call(self, _method: str, *_params: Any) -> Any:
        return self.transaction

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        (_, (query,)), (_, (last, _full)) = calls
        span = quantity(query["fromBlock"]), quantity(query["toBlock"])
        found = [number for number in self.numbers if span[0] <= number <= span[1]]
        if len(found) > self.limit:
            raise TooManyLogsError("eth_getLogs", -32005, "too many")
        self.spans.append(span)
        logs = [{"blockNumber": hex(number), "logIndex": "0x0"} for number in found]
        return [logs, {} if quantity(last) <= self.head else None]


@given(st.sets(st.integers(0, 300), max_size=60), st.integers(1, 5))
def test_newest_node_with_a_cap_gives_all_logs_newest_first_and_reads_no_block_twice(numbers, limit):
    node = FewLogs(sorted(numbers), 300, limit)
    found = [quantity(log["blockNumber"]) for log in newest(node, QUERY, 0, 300)]
    assert found == sorted(numbers, reverse=True)
    assert sum(last - first + 1 for first, last in node.spans) == 301


def test_newest_first_match_is_enough_to_stop_reading():
    node = FewLogs([5, 6, 290], 300, 1)
    assert quantity(next(newest(node, QUERY, 0, 300))["blockNumber"]) == 290
    assert len(node.spans) == 1


def test_newest_more_in_one_block_than_the_node_gives_is_said():
    with pytest.raises(TooManyLogsError):
        list(newest(FewLogs([7], 9, 0), QUERY, 0, 9))


def test_newest_node_that_lags_is_not_believed():
    with pytest.raises(NodeBehindError):
        list(newest(FewLogs([], 8, 1), QUERY, 0, 9))


@pytest.mark.parametrize(
    "transaction",
    [
        None,
        {"to": None, "input": "0x"},
        {"to": "0x" + "11" * 20, "input": "0x"},
        {"to": "0x" + CONTRACT.hex(), "input": "0x12345678"},
        {"to": "0x" + CONTRACT.hex(), "input": "0x" + abi("DcapVerifier").functions["addPck"][0].hex() + "ff" * 31},
    ],
)
def test_arguments_behind_a_transaction_that_called_something_else_are_unknown(transaction):
    node = FewLogs([], 0, 1, transaction=transaction)
    log = {"transactionHash": "0x" + "22" * 32, "address": "0x" + CONTRACT.hex()}
    assert arguments_behind(node, log, "DcapVerifier", "addPck") is None
