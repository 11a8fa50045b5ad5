"""
Wait for the end of a request, one look at the chain at a time: who sleeps in between, and how, is up to the caller.

A reorganisation may take back an end that was seen, or the request itself. The end is looked for anew in each step, and
counts when it has the confirmations that were asked for; a request that is gone is told from one that is open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from oracle.chain.history import find_ending
from oracle.chain.reader import ChainReader
from oracle.chain.settlement import open_among
from oracle.client.errors import RequestOverdueError, RequestUnknownError, WaitTimeoutError
from oracle.client.patience import Patience
from oracle.client.results import Result, read_result
from oracle.errors import RetryableError
from oracle.types.block import Created
from oracle.types.ids import hex_of

_SURE_AFTER: Final = 3  # looks in a row: one node may be behind another


@dataclass(slots=True)
class Waiter:
    """Waits for one request. A chain that cannot be read is borne for a minute."""

    reader: ChainReader
    created: Created
    timeout_s: float | None = None  # None: until the request's deadline
    confirmations: int = 0
    now_s: Callable[[], float] = time.monotonic
    _started_at_s: float = field(init=False)
    _missing: int = field(default=0, init=False)
    _patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count."""
        self._started_at_s = self.now_s()
        self._patience = Patience(now_s=self.now_s)

    def step(self) -> Result | None:
        """
        The end of the request, or None: not yet.

        Raises:
            WaitTimeoutError: the time is up.
            RequestOverdueError: its deadline has passed.
            RequestUnknownError: it is not in the chain any more.
            RetryableError: the chain cannot be read, and the time is up, or it has been so for a minute.
        """
        try:
            found = self._look()
        except (RequestOverdueError, WaitTimeoutError):
            raise
        except RetryableError as error:
            if self._is_over():
                raise
            self._patience.failed(error)
            return None
        self._patience.succeeded()
        return found

    def _look(self) -> Result | None:
        reader, request = self.reader, self.created.request
        head = reader.head()
        request_id, first = request.request_id, min(self.created.block_number, head.number)
        end = find_ending(reader.rpc, reader.chain_id, reader.coprocessor, request_id, first, head.number)
        if end is not None:
            self._missing = 0
            if head.number - end.block_number >= self.confirmations:
                return read_result(reader.rpc, reader.chain_id, reader.coprocessor, end)
        else:
            self._require_open()
            if head.timestamp_s > request.deadline_s:
                raise RequestOverdueError(
                    f"nobody served {hex_of(request_id)} in time: its fee can be had back by calling `expire` and "
                    "`withdrawRefunds`; look at `adyton status` and `adyton doctor` for why"
                )
        if self._is_over():
            raise WaitTimeoutError(f"request {hex_of(request_id)} has not ended within {self.timeout_s} s")
        return None

    def _require_open(self) -> None:
        request = self.created.request
        is_open = open_among(self.reader.rpc, request.coprocessor, request.pool_id, [request.request_id])
        self._missing = 0 if is_open else self._missing + 1
        if self._missing >= _SURE_AFTER:
            raise RequestUnknownError(
                f"there is no request {hex_of(request.request_id)} on chain {request.chain_id}: a reorganisation "
                "removed it, or it was never made"
            )

    def _is_over(self) -> bool:
        return self.timeout_s is not None and self.now_s() - self._started_at_s >= self.timeout_s
