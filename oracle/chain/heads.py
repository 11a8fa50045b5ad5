"""
Wait for the next block: a websocket subscription if there is one, otherwise a clock.

A hint only: a missed or doubled head costs nothing, since the watcher reads from its cursor, and it looks at least once
per polling interval whatever the subscription says. The subscription has its own thread, so one that hangs delays
nobody. When it drops, or names no head while polling finds blocks, another one is made, at the next URL if there are
several, with growing pauses.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from oracle.chain.rpc import without_secrets

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_OPEN_TIMEOUT_S = 5.0
_MAX_MESSAGE_BYTES = 1 << 20
_MISSED_BEFORE_STALLED = 3  # looks in a row that found blocks of which the subscription had said nothing
_STOP_POLL_S = 0.25
_TCP_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux


class Heads:
    """`wait` returns when there may be a new block. Use it in a `with`; `stop` ends its waits as well."""

    def __init__(self, ws_urls: Sequence[str], poll_interval_s: float, stop: threading.Event) -> None:
        self._urls = tuple(ws_urls)
        self._poll_interval_s = poll_interval_s
        self._stop = stop
        self._closed = threading.Event()
        self._woken = threading.Event()
        self._connection: ClientConnection | None = None
        self._missed = 0
        self._timed_out = False
        self._thread: threading.Thread | None = None

    @property
    def is_subscribed(self) -> bool:
        """Whether heads are announced to us now."""
        return self._connection is not None

    def wait(self) -> None:
        """Return at the next head, or after the polling interval."""
        if self._thread is None:
            self._stop.wait(self._poll_interval_s)
            return
        deadline_s = time.monotonic() + self._poll_interval_s
        while not self._woken.wait(min(_STOP_POLL_S, max(0.0, deadline_s - time.monotonic()))):
            if self._stop.is_set() or time.monotonic() >= deadline_s:
                break
        self._timed_out = not self._woken.is_set()
        self._woken.clear()

    def found_blocks(self) -> None:
        """To be told when a look after `wait` found new blocks: a subscription that never names any is dropped."""
        missed, self._timed_out = self._timed_out, False
        self._missed = self._missed + 1 if missed and self._connection is not None else 0
        if self._missed >= _MISSED_BEFORE_STALLED:
            self._missed = 0
            _LOG.warning("the new-head subscription names no heads though there are some: subscribing again")
            self._drop()

    def close(self) -> None:
        """End the subscription."""
        self._closed.set()
        self._drop()
        if self._thread is not None:
            self._thread.join(timeout=2 * _OPEN_TIMEOUT_S)

    def __enter__(self) -> Self:
        """Itself, subscribing in the background."""
        if self._urls:
            self._thread = threading.Thread(target=self._keep_subscribed, name="heads", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _drop(self) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(WebSocketException, OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)  # ends `recv` at once, whatever the other side does

    def _keep_subscribed(self) -> None:
        failures, turn = 0, 0
        while not self._closed.is_set():
            url = self._urls[turn % len(self._urls)]
            try:
                with _subscribed(url) as connection:
                    self._connection = connection
                    if failures:
                        _LOG.info("subscribed to new heads at %s again", without_secrets(url))
                    self._woken.set()  # for what was missed until now
                    self._announce(connection)
                    failures = 0
            except (WebSocketException, OSError, ValueError, EOFError) as error:
                failures = 0 if self._connection is not None else failures
                if not self._closed.is_set():
                    level = logging.WARNING if failures == 0 else logging.DEBUG
                    _LOG.log(
                        level, "no new-head subscription at %s, polling meanwhile: %s", without_secrets(url), error
                    )
            self._connection = None
            pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(failures, 16))
            self._closed.wait(pause_s * (0.5 + random.random() / 2))  # noqa: S311  # jitter, no secret
            failures, turn = failures + 1, turn + 1

    def _announce(self, connection: ClientConnection) -> None:
        while not self._closed.is_set():
            _acknowledge_quickly(connection)
            connection.recv()
            self._missed = 0
            self._woken.set()


@contextlib.contextmanager
def _subscribed(url: str) -> Iterator[ClientConnection]:
    """
    A connection on which each message is a new head.

    Raises:
        WebSocketException, OSError, ValueError, EOFError: there is none to be had.
    """
    with connect(
        url,
        open_timeout=_OPEN_TIMEOUT_S,
        close_timeout=1,
        max_size=_MAX_MESSAGE_BYTES,
        compression=None,
        proxy=None,
    ) as connection:
        connection.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}))
        _acknowledge_quickly(connection)
        answer = json.loads(connection.recv(timeout=_OPEN_TIMEOUT_S))
        if not isinstance(answer, dict) or "result" not in answer:
            raise WebSocketException(f"it was refused: {answer!r:.200}")
        yield connection


def _acknowledge_quickly(connection: ClientConnection) -> None:
    """Or the node's next small frame waits 40 ms for our delayed acknowledgement. The kernel forgets it."""
    if _TCP_QUICKACK is not None and connection.socket.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            connection.socket.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)
