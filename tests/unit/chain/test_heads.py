"""Waiting for heads: over a real WebSocket server that drops, stalls, hangs and refuses."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from oracle.chain import heads as heads_module
from oracle.chain.heads import Heads
from tests.fakes import eventually


class Announcer:
    """A node's subscription to new heads."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.subscribed = 0
        self.refuses = False
        self.hangs = False
        self._server = serve(self._serve, "127.0.0.1", 0)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/secret-key"

    def announce(self) -> None:
        for connection in self.connections:
            with contextlib.suppress(ConnectionClosed):
                connection.send(json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": {}}))

    def drop(self) -> None:
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    def close(self) -> None:
        self.drop()
        self._server.shutdown()

    def _serve(self, connection: ServerConnection) -> None:
        self.subscribed += 1
        message = json.loads(connection.recv())
        if self.hangs:
            threading.Event().wait(20)
        answer = {"error": {"code": 1, "message": "no"}} if self.refuses else {"result": "0x1"}
        connection.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}))
        self.connections.append(connection)
        with contextlib.suppress(ConnectionClosed):
            connection.recv()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads_module, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def announcer() -> Iterator[Announcer]:
    made = Announcer()
    yield made
    made.close()


def waited(heads: Heads) -> float:
    begun = time.monotonic()
    heads.wait()
    return time.monotonic() - begun


def test_wait_returns_at_a_head(announcer: Announcer) -> None:
    with Heads([announcer.url], 20, threading.Event()) as heads:
        eventually(lambda: announcer.connections)
        heads.wait()  # for what was missed before the subscription
        announcer.announce()
        assert waited(heads) < 10


def test_wait_without_subscription_is_the_polling_interval() -> None:
    with Heads([], 0.05, threading.Event()) as heads:
        assert 0.04 < waited(heads) < 5


def test_wait_ends_when_told_to_stop(announcer: Announcer) -> None:
    stop = threading.Event()
    with Heads([announcer.url], 60, stop) as heads:
        eventually(lambda: announcer.connections)
        heads.wait()
        stop.set()
        assert waited(heads) < 10


def test_dropped_subscription_is_made_again(announcer: Announcer, caplog: pytest.LogCaptureFixture) -> None:
    """N7."""
    caplog.set_level(logging.INFO)
    with Heads([announcer.url], 20, threading.Event()) as heads:
        for round_number in range(1, 4):
            eventually(lambda: announcer.connections)
            heads.wait()
            assert announcer.subscribed == round_number
            announcer.drop()
            assert waited(heads) < 10  # the new subscription is a reason to look
        announcer.announce()
        heads.wait()
    assert "again" in caplog.text
    assert "secret-key" not in caplog.text


def test_stalled_subscription_is_dropped(announcer: Announcer) -> None:
    """N7: it says nothing while polling finds blocks."""
    with Heads([announcer.url], 0.01, threading.Event()) as heads:
        eventually(lambda: heads.is_subscribed)
        heads.wait()
        while announcer.subscribed == 1:
            heads.wait()
            heads.found_blocks()
        eventually(lambda: announcer.subscribed >= 2)


def test_silent_subscription_of_a_silent_chain_is_kept(announcer: Announcer) -> None:
    with Heads([announcer.url], 0.001, threading.Event()) as heads:
        eventually(lambda: heads.is_subscribed)
        for _ in range(100):
            heads.wait()  # nobody found blocks
        assert announcer.subscribed == 1


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "nobody"])
def test_subscription_that_is_not_to_be_had_delays_nobody(
    announcer: Announcer, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """N7: and it is said once."""
    if trouble != "nobody":
        setattr(announcer, trouble, True)
    url = "ws://127.0.0.1:1" if trouble == "nobody" else announcer.url
    with Heads([url], 0.01, threading.Event()) as heads:
        assert sum(waited(heads) for _ in range(20)) < 4
        if trouble != "hangs":
            eventually(lambda: "no new-head subscription" in caplog.text)
        assert caplog.text.count("no new-head subscription") <= 1


def test_next_url_is_tried(announcer: Announcer) -> None:
    with Heads(["ws://127.0.0.1:1", announcer.url], 20, threading.Event()) as heads:
        eventually(lambda: heads.is_subscribed)
        assert announcer.subscribed == 1
