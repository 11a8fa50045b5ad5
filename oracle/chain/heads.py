"""
Wait for the next block: a websocket subscription if there is one, otherwise a clock.

A hint only: a missed or doubled head costs nothing, since the watcher reads from its cursor. When the subscription
drops, polling takes over and a new subscription is tried at most every few seconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from types import TracebackType
from typing import Self

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

_LOG = logging.getLogger(__name__)
_RECONNECT_AFTER_S = 3.0
_OPEN_TIMEOUT_S = 5.0
_MAX_MESSAGE_BYTES = 1 << 20
_TCP_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux


class Heads:
    """`wait` returns when there may be a new block."""

    def __init__(self, ws_url: str | None, poll_interval_s: float, stop: threading.Event) -> None:
        self._ws_url = ws_url
        self._poll_interval_s = poll_interval_s
        self._stop = stop
        self._connection: ClientConnection | None = None
        self._try_again_at = 0.0

    def wait(self) -> None:
        """Return at the next head, or after the polling interval, or when `stop` is set."""
        connection = self._subscribed()
        if connection is None:
            self._stop.wait(self._poll_interval_s)
            return
        try:
            _acknowledge_quickly(connection)
            connection.recv(timeout=self._poll_interval_s)
            while True:  # several heads at once are one reason to look
                connection.recv(timeout=0)
        except TimeoutError:
            return
        except (WebSocketException, OSError, EOFError) as error:
            _LOG.warning("the new-head subscription ended, polling meanwhile: %s", error)
            self.close()

    def close(self) -> None:
        """End the subscription."""
        if self._connection is not None:
            with contextlib.suppress(WebSocketException, OSError):
                self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _subscribed(self) -> ClientConnection | None:
        if self._connection is not None or self._ws_url is None or time.monotonic() < self._try_again_at:
            return self._connection
        self._try_again_at = time.monotonic() + _RECONNECT_AFTER_S
        try:
            connection = connect(
                self._ws_url,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=1,
                max_size=_MAX_MESSAGE_BYTES,
                compression=None,
                proxy=None,
            )
            connection.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}))
            _acknowledge_quickly(connection)
            answer = json.loads(connection.recv(timeout=_OPEN_TIMEOUT_S))
            if not isinstance(answer, dict) or "result" not in answer:
                raise WebSocketException(f"it was refused: {answer!r:.200}")  # noqa: TRY301  # one way to fail
        except (WebSocketException, OSError, ValueError, EOFError) as error:
            _LOG.warning("cannot subscribe to new heads at %s, polling meanwhile: %s", self._ws_url, error)
            return None
        self._connection = connection
        return connection


def _acknowledge_quickly(connection: ClientConnection) -> None:
    """Or the node's next small frame waits 40 ms for our delayed acknowledgement. The kernel forgets it."""
    if _TCP_QUICKACK is not None and connection.socket.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            connection.socket.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)
