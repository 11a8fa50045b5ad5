"""
Load and observability of a running pool: one consumer's flood delays nobody else, the queue stays small whatever waits,
a missing enclave leaves the backlog where it is, and `/metrics` shows all of it at one address.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import urllib.request
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from oracle.anvil import ACCOUNTS
from oracle.broker import CeleryQueue, celery_app
from oracle.config import Settings
from oracle.enclave.protocol import Execute, ReceiptReply
from oracle.jobs.ports import FindContent
from oracle.store.rows import RequestState
from oracle.store.store import Store
from oracle.supervisor import running
from oracle.wiring import open_wallet
from tests.fakes import FakeEnclave, eventually, serving
from tests.integration.conftest import Chain

FLOOD = 60


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _scrape(address: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class GatedEnclave(FakeEnclave):
    """Serves one request each time that it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)

    def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
        self.gate.acquire()
        return super().execute(message, find)


def _settled(store: Store, count: int) -> bool:
    return store.requests.counts()[RequestState.SETTLED] >= count


def test_flood_of_one_consumer_does_not_delay_another(chain: Chain, settings: Settings) -> None:
    """P18."""
    assert settings.enclave_socket is not None
    enclave = GatedEnclave()
    with serving(enclave, settings.enclave_socket), running(settings), Store.open(settings.database) as store:
        for number in range(FLOOD):
            chain.request(b"flood %d" % number)
        eventually(lambda: store.requests.counts()[RequestState.PENDING] == FLOOD, 30, "the flood is stored")
        queue = CeleryQueue(celery_app(settings))
        assert queue.depth("execute") <= 2 * queue.max_waiting_execute
        enclave.gate.release(5)
        eventually(lambda: len(enclave.executed) == 5, 20, "some are served")
        chain.asker = open_wallet(Settings(rpc_url=chain.node.rpc_url), chain.rpc, ACCOUNTS[3])
        quiet = chain.request(b"quiet").request.request_id
        eventually(lambda: store.requests.get(quiet), 20, "the other request is stored")
        for served in range(6, FLOOD):
            enclave.gate.release()
            eventually(lambda: len(enclave.executed) >= served, 20)  # noqa: B023
            if quiet in enclave.executed:
                break
        assert enclave.executed.index(quiet) <= 5 + 16 + 1  # what was taken before, and then it is next
        enclave.gate.release(FLOOD)
        eventually(partial(_settled, store, FLOOD + 1), 60, "all settled")
    assert set(chain.settlements().values()) == {1}


def test_missing_enclave_leaves_the_backlog_in_the_store(chain: Chain, settings: Settings) -> None:
    """P19, back-pressure: nothing is held, no attempt is counted, the queue stays small; later all settle."""
    assert settings.enclave_socket is not None
    enclave = FakeEnclave()
    with running_without(enclave, settings) as store:
        for number in range(20):
            chain.request(b"%d" % number)
        eventually(lambda: store.requests.counts()[RequestState.PENDING] == 20, 30, "stored")
        queue = CeleryQueue(celery_app(settings))
        before = store.chain.cursor().number
        for _ in range(3):
            chain.rpc.call("anvil_mine")
        eventually(lambda: store.chain.cursor().number >= before + 3, 20, "the watcher goes on")
        assert queue.depth("execute") <= 2 * queue.max_waiting_execute
        assert {row.attempts for row in store.requests.latest(20)} == {0}
        with serving(enclave, settings.enclave_socket):
            eventually(partial(_settled, store, 20), 60, "all settled")


class running_without:  # noqa: N801  # reads as a verb
    """A pool whose enclave was registered and has gone."""

    def __init__(self, enclave: FakeEnclave, settings: Settings) -> None:
        assert settings.enclave_socket is not None
        self._serving = serving(enclave, settings.enclave_socket)
        self._pool = running(settings)
        self._store = Store.open(settings.database, create=True)

    def __enter__(self) -> Store:
        self._serving.__enter__()
        self._pool.__enter__()
        self._serving.__exit__(None, None, None)
        return self._store

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__(None, None, None)
        self._store.close()


def test_metrics_of_all_parts_at_one_address_survive_their_restart(
    chain: Chain, settings: Settings, tmp_path: Path
) -> None:
    assert settings.enclave_socket is not None
    address = f"127.0.0.1:{_free_port()}"
    observed = replace(settings, metrics_listen=address)
    with serving(FakeEnclave(), settings.enclave_socket), running(observed) as pool:
        with Store.open(settings.database) as store:
            for number in range(10):
                chain.request(b"%d" % number)
            eventually(partial(_settled, store, 10), 60, "all settled")
        shown = eventually(lambda: _if(_scrape(address), ("adyton_requests_ended_total", "completed", "settled"), 10))
        assert shown["adyton_executions_total", "completed"] == 10
        assert shown["adyton_fees_earned_wei_total", "ours"] > 0
        assert shown["adyton_gas_spent_wei_total", "fulfill"] > 0
        assert shown["adyton_readable",] == 1
        assert shown["adyton_requests", "pending"] == 0
        assert shown["adyton_enclaves", "live"] == 1
        assert shown["adyton_head_block",] >= shown["adyton_cursor_block",] > 0
        assert shown["adyton_relay_balance_wei", "0x" + ACCOUNTS[1].address.hex()] > 10**20
        assert shown["adyton_execution_seconds_count",] == 10
        assert shown["adyton_enclave_up", "0"] == 1
        os.kill(eventually(lambda: pool.pids().get("worker"), what="the worker runs"), signal.SIGKILL)
        chain.request(b"again")
        after = eventually(lambda: _if(_scrape(address), ("adyton_executions_total", "completed"), 11))
        assert after["adyton_part_restarts_total", "worker"] == 1


def _if(shown: dict[tuple[str, ...], float], name: tuple[str, ...], least: float) -> dict[tuple[str, ...], float]:
    return shown if shown.get(name, 0) >= least else {}


@pytest.mark.parametrize("count", [200])
def test_backlog_is_worked_off_with_a_handful_of_messages(chain: Chain, settings: Settings, count: int) -> None:
    """P19: a backlog that was there before the pool: read, stored and executed, while few messages wait at any time."""
    assert settings.enclave_socket is not None
    for number in range(count):
        chain.request(b"%d" % number)
    enclave = FakeEnclave()
    with serving(enclave, settings.enclave_socket), running(settings), Store.open(settings.database) as store:
        queue, deepest = CeleryQueue(celery_app(settings)), 0
        while not _settled(store, count):
            deepest = max(deepest, queue.depth("execute"))
        assert deepest <= 2 * queue.max_waiting_execute
    assert sorted(enclave.executed) == sorted(set(enclave.executed))
    assert chain.settlements() == dict.fromkeys(enclave.executed, 1)
