"""P19: wake-up calls over a real Valkey: bounded whatever is asked for, and none left out that is needed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from oracle import metrics
from oracle.broker import CeleryQueue, _server_binary, celery_app, is_listening
from oracle.config import Settings
from oracle.types.ids import Address, RequestId
from tests.fakes import eventually

REQUEST = RequestId(b"\x01" * 32)


def start(directory: Path) -> subprocess.Popen[bytes]:
    path = directory / "v.sock"
    command = [str(_server_binary()), "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    eventually(lambda: is_listening(path), 20, "the broker answers")
    return process


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = start(tmp_path)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def queue(server: subprocess.Popen[bytes], tmp_path: Path) -> CeleryQueue:
    settings = Settings(broker_url=f"redis+socket://{tmp_path}/v.sock", coprocessor="0x" + "11" * 20)
    return CeleryQueue(celery_app(settings))


def drain(queue: CeleryQueue, task: str) -> int:
    """Take every message away, as workers would."""
    with queue.app.connection_for_read() as connection:
        return int(connection.default_channel.queue_purge(queue._queue_of(task)))


@pytest.mark.parametrize("waiting", [1, 3, 4, 20_000])
def test_execute_backlog_of_any_size_is_a_handful_of_messages(queue: CeleryQueue, waiting: int) -> None:
    queue.execute(waiting)
    assert queue.depth("execute") == min(waiting, queue.max_waiting_execute)


def test_execute_again_and_again_adds_nothing_while_messages_wait(queue: CeleryQueue) -> None:
    for _ in range(50):
        queue.execute(10)
    assert queue.depth("execute") == queue.max_waiting_execute


def test_execute_after_the_messages_were_taken_sends_one_at_once(queue: CeleryQueue) -> None:
    """The one case in which leaving it out would lose the wake-up call."""
    for _ in range(30):
        queue.execute(10)
        drain(queue, "execute")
        queue.execute()
        assert queue.depth("execute") >= 1
        drain(queue, "execute")


def test_submit_many_receipts_are_bounded_and_leave_room_for_registrations(queue: CeleryQueue) -> None:
    for _ in range(2 * queue.max_waiting_submit):
        queue.submit(REQUEST)
    assert queue.depth("submit") <= queue.max_waiting_submit
    before = queue.depth("submit")
    queue.register(Address(b"\x02" * 20))
    queue.expire(REQUEST)
    assert queue.depth("submit") == before + 2


def test_expire_few_wait_at_a_time(queue: CeleryQueue) -> None:
    for _ in range(5 * queue.max_waiting_expire):
        queue.expire(REQUEST)
    assert 0 < queue.depth("submit") <= queue.max_waiting_expire


def test_sweep_of_every_second_does_not_pile_up_without_a_worker(queue: CeleryQueue) -> None:
    for _ in range(100):
        queue.sweep()
    assert queue.depth("sweep") <= 2 * queue.max_waiting_execute


def test_send_to_a_broker_that_is_away_raises_nothing_and_works_again_later(
    queue: CeleryQueue, server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """P1: the sweeper catches up."""
    queue.execute()
    server.kill()
    server.wait()
    before = metrics.value("wake_ups", task="submit", sent="failed")
    for _ in range(3):
        queue.submit(REQUEST)
    assert metrics.value("wake_ups", task="submit", sent="failed") == before + 3
    again = start(tmp_path)
    try:
        queue.submit(REQUEST)
        assert queue.depth("submit") == 1
    finally:
        again.kill()
        again.wait()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis+socket:///nowhere.sock", "amqp://127.0.0.1:1//"])
def test_depth_of_a_broker_that_is_away_is_an_error_at_once(url: str) -> None:
    queue = CeleryQueue(celery_app(Settings(broker_url=url, coprocessor="0x" + "11" * 20)))
    began = time.monotonic()
    with pytest.raises(OperationalError):
        queue.depth("execute")
    queue.execute()
    assert time.monotonic() - began < 2


STOPPED_EARLY = """
import sys, threading
from oracle import parts
from oracle.broker import celery_app
from oracle.config import Settings
stop = threading.Event()
parts.await_broker = lambda app, stop: stop.set() or True
parts._consume(celery_app(Settings(broker_url=sys.argv[1])), stop, "q", "threads", 1)
"""


def test_consume_told_to_stop_before_celery_started_ends(queue: CeleryQueue) -> None:
    command = [sys.executable, "-c", STOPPED_EARLY, queue.app.conf.broker_url]
    assert subprocess.run(command, timeout=30, check=False, capture_output=True).returncode == 0


def test_two_pools_on_one_broker_do_not_see_each_others_messages(queue: CeleryQueue, tmp_path: Path) -> None:
    settings = Settings(broker_url=f"redis+socket://{tmp_path}/v.sock", coprocessor="0x" + "22" * 20)
    other = replace(queue, app=celery_app(settings), _room={})
    queue.execute(4)
    assert other.depth("execute") == 0
