"""Waiting for a request while the chain is away, moves, or a node lags. With a real pool: tests/integration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from oracle.chain.contracts import EXPIRED
from oracle.client.errors import RequestOverdueError, RequestUnknownError, WaitTimeoutError
from oracle.client.waiting import Waiter
from oracle.errors import RetryableError
from oracle.types.block import BlockRef, Created, Expired
from oracle.types.ids import hex_of
from tests.fakes import a_request

CREATED = Created(a_request(1), b"input", 5, b"\x01" * 32)


@dataclass
class OneRequest:
    """A chain that knows one request, as reader and as node."""

    number: int = 9
    timestamp_s: int = 1_700_000_000
    is_open: bool = True
    ended_at: int | None = None
    is_away: bool = False
    chain_id: int = 31337
    coprocessor: bytes = a_request().coprocessor
    now_s: float = 0.0
    name: str = "one"
    rpc: Any = field(init=False)

    def __post_init__(self) -> None:
        self.rpc = self

    def head(self) -> BlockRef:
        if self.is_away:
            raise RetryableError("away")
        return BlockRef(self.number, b"\x02" * 32, self.timestamp_s)

    def agreed(self, read: Callable[[Any], Any]) -> Any:
        return read(self)

    def batch(self, calls: Any) -> list[Any]:
        if calls[0][0] == "eth_call":
            return [hex_of(bytes([self.is_open]))]
        return [[] if self.ended_at is None else [self._log()], {}]

    def _log(self) -> dict[str, Any]:
        return {
            "address": hex_of(self.coprocessor),
            "topics": [hex_of(EXPIRED), hex_of(CREATED.request_id)],
            "data": hex_of(bytes(32)),
            "blockNumber": hex(self.ended_at or 0),
            "logIndex": "0x0",
            "transactionHash": hex_of(b"\x03" * 32),
        }

    def waiter(self, timeout_s: float | None = None, confirmations: int = 0) -> Waiter:
        return Waiter(self, CREATED, timeout_s, confirmations, now_s=lambda: self.now_s)


def test_step_open_request_is_none_until_the_time_is_up():
    chain = OneRequest()
    waiter = chain.waiter(timeout_s=10)
    assert waiter.step() is None
    chain.now_s = 10
    with pytest.raises(WaitTimeoutError):
        waiter.step()


def test_step_end_counts_with_its_confirmations():
    chain = OneRequest(is_open=False, ended_at=9)
    waiter = chain.waiter(confirmations=2)
    assert [waiter.step() for _ in range(5)] == [None] * 5
    chain.number = 11
    assert isinstance(waiter.step(), Expired)


def test_step_deadline_passed_says_so_only_if_nothing_ended_it():
    late = CREATED.request.deadline_s + 1
    assert isinstance(OneRequest(timestamp_s=late, ended_at=8).waiter().step(), Expired)
    with pytest.raises(RequestOverdueError):
        OneRequest(timestamp_s=late).waiter().step()


def test_step_request_missing_once_may_be_a_node_that_lags():
    chain = OneRequest(is_open=False)
    waiter = chain.waiter()
    assert [waiter.step(), waiter.step()] == [None, None]
    chain.is_open = True
    assert waiter.step() is None
    chain.is_open = False
    assert [waiter.step(), waiter.step()] == [None, None]
    with pytest.raises(RequestUnknownError):
        waiter.step()


@pytest.mark.parametrize(("timeout_s", "at_s"), [(None, 60), (10, 10)])
def test_step_chain_away_is_borne_for_a_while(timeout_s, at_s):
    chain = OneRequest(is_away=True)
    waiter = chain.waiter(timeout_s)
    assert waiter.step() is None
    chain.now_s = at_s
    with pytest.raises(RetryableError, match="away"):
        waiter.step()


def test_step_chain_back_is_trusted_anew():
    chain = OneRequest(is_away=True)
    waiter = chain.waiter()
    for now_s, is_away in ((0, True), (50, False), (70, True), (120, True)):
        chain.now_s, chain.is_away = now_s, is_away
        assert waiter.step() is None
