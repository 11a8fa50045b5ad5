"""
The host's byte pipe, and what one run may still take from the web.

The host is asked to connect and to carry bytes. It may refuse, lie, delay and answer itself: all that comes through
the pipe is hostile until TLS has said otherwise (`oracle.enclave.web.tls`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from oracle.errors import AdytonError
from oracle.types.web import FetchTerms

PIPE_OVERHEAD_BYTES: Final = 128 << 10  # of TLS, per connection: certificates, records
_MAX_DETAIL_CHARACTERS = 200


class FetchFailedError(AdytonError):
    """
    No answer that the program may see: its fetch fails with this reason. A run that goes on is none the worse.

    The reason is the enclave's own words, for it may become part of a receipt. `detail` is for the log: whatever host
    or server said.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail[:_MAX_DETAIL_CHARACTERS]


class Pipe(Protocol):
    """One connection at a time. Every method may raise `HostError` or `OSError`: the channel itself failed."""

    def dial(self, host: str, port: int, wait_ms: int) -> str:
        """Connect to `host`; an empty text, or why the host did not. What was connected before is not any more."""
        ...

    def carry(self, data: bytes, wait_ms: int) -> tuple[bytes, bool]:
        """Send `data`, wait for some bytes to come in; those, and whether more can come."""
        ...

    def hang_up(self) -> None:
        """Close it."""
        ...


class _NoPipe:
    def dial(self, host: str, _port: int, _wait_ms: int) -> str:
        return f"there is no pipe to {host}"

    def carry(self, _data: bytes, _wait_ms: int) -> tuple[bytes, bool]:
        return b"", False

    def hang_up(self) -> None:
        return


NO_PIPE: Final[Pipe] = _NoPipe()


class Budget:
    """What is left of a run's calls, bytes and time."""

    def __init__(self, terms: FetchTerms) -> None:
        self._terms = terms
        self._calls = terms.calls
        self._bytes = terms.bytes
        self._left_s = terms.time_ms / 1_000
        self._until = 0.0

    def take_call(self) -> None:
        """
        Take one call.

        Raises:
            FetchFailedError: none is left.
        """
        if self._calls == 0:
            raise FetchFailedError(f"the manifest allows {self._terms.calls} calls")
        self._calls -= 1

    def take_bytes(self, count: int) -> None:
        """
        Take `count` bytes of HTTP.

        Raises:
            FetchFailedError: fewer are left.
        """
        if count > self._bytes:
            self._bytes = 0
            raise FetchFailedError(f"more than the {self._terms.bytes} bytes that the manifest allows")
        self._bytes -= count

    @property
    def pipe_bytes(self) -> int:
        """The most that the pipe may bring for one connection from now on."""
        return 2 * self._bytes + PIPE_OVERHEAD_BYTES

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the time count."""
        started = time.monotonic()
        self._until = started + self._left_s
        try:
            yield
        finally:
            self._left_s = max(0.0, self._until - time.monotonic())

    def left_ms(self) -> int:
        """
        How long the host may take now, at least 1.

        Raises:
            FetchFailedError: the time is over.
        """
        left_ms = int((self._until - time.monotonic()) * 1_000)
        if left_ms <= 0:
            raise FetchFailedError(f"more than the {self._terms.time_ms} ms that the manifest allows")
        return left_ms
