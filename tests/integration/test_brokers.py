"""A pool over a broker by URL: a real RabbitMQ, and a Valkey on TCP. Skipped where the server is not installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from celery import Celery

from oracle.broker import _server_binary
from oracle.config import Settings
from oracle.store.rows import RequestState
from oracle.store.store import Store
from oracle.supervisor import pool_parts, running
from tests.fakes import FakeEnclave, eventually, serving
from tests.integration.conftest import Chain

_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
REQUESTS = 20


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    try:
        with Celery(broker=url, set_as_current=False).connection_for_read() as connection:
            connection.connect()
    except Exception:  # noqa: BLE001  # whatever a broker that boots may do
        return False
    return True


@contextmanager
def _valkey(directory: Path) -> Iterator[str]:
    port = _free_port()
    command = [str(_server_binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _rabbitmq(directory: Path) -> Iterator[str]:
    if not _RABBITMQ.exists() or shutil.which("erl") is None:
        pytest.skip("no RabbitMQ here: `apt-get install rabbitmq-server`")
    port = _free_port()
    environment = os.environ | {
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(_free_port()),
        "RABBITMQ_NODENAME": f"adyton{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(_free_port()),
        "RABBITMQ_MNESIA_BASE": str(directory),
        "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
    }
    process = subprocess.Popen(
        [str(_RABBITMQ)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        os.killpg(process.pid, 15)
        process.wait()
        subprocess.run(
            ["epmd", "-kill"], env=environment, check=False, capture_output=True
        )  # RabbitMQ leaves it behind


def _settled(store: Store) -> bool:
    return store.requests.counts()[RequestState.SETTLED] == REQUESTS


@pytest.mark.parametrize("broker", [_valkey, _rabbitmq])
def test_pool_over_a_broker_by_url_settles(chain: Chain, settings: Settings, tmp_path: Path, broker: object) -> None:
    assert callable(broker)
    assert settings.enclave_socket is not None
    (tmp_path / "broker-by-url").mkdir()
    with broker(tmp_path / "broker-by-url") as url:
        eventually(partial(_answers, url), 60, "the broker answers")
        by_url = replace(settings, broker_url=url)
        assert ("broker",) not in pool_parts(by_url)
        with serving(FakeEnclave(), settings.enclave_socket), running(by_url), Store.open(settings.database) as store:
            for number in range(REQUESTS):
                chain.request(b"%d" % number)
            eventually(partial(_settled, store), 30, "all settled")
        assert set(chain.settlements().values()) == {1}
