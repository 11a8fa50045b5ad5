"""
Run the parts of a pool on one machine as child processes.

What dies is started again, at once the first time and then ever more slowly; a part that says that trying again cannot
help ends everything. Stopping ends all children, and so does kill -9 of the supervisor: they die with it. One pool per
data directory: a second one is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO

from oracle import metrics
from oracle.broker import is_listening, require_socket_path
from oracle.config import ENVIRONMENT_PREFIX, Settings
from oracle.errors import ConfigurationError
from oracle.parts import EXIT_CONFIGURATION, METRICS_DIRECTORY, run_worker_alone, stop_on_signals
from oracle.status import StoreReading
from oracle.store.store import Store
from oracle.wiring import enclave_sockets, now_ms

_LOG = logging.getLogger(__name__)
_POLL_S = 0.05
_READY_POLL_S = 0.02
_STEADY_AFTER_S = 10.0
_BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_STOP_WITHIN_S = 10.0  # and the longest job, which a worker that is told to stop still finishes
_BROKER_WITHIN_S = 15.0


class PartFailedError(ConfigurationError):
    """A part ended with a reason that starting it again cannot mend. Its own log line says which."""


@dataclass(slots=True)
class _Child:
    """One part: the process that runs it now, and how often it died in a row."""

    name: str
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    start_at: float = 0.0


class Supervisor:
    """`run` blocks until `stop` is set. The thread that runs it must live as long as the children."""

    def __init__(self, settings: Settings, parts: Sequence[tuple[str, ...]]) -> None:
        self._settings = settings
        self._directory = settings.data_dir.resolve() / "run"
        self._children = [_Child("-".join(part), part) for part in parts]
        self._readings = [StoreReading(settings, now_ms)] if ("watcher",) in parts else []
        self.stop = threading.Event()

    def run(self) -> None:
        """
        Run all parts until `stop` is set.

        Raises:
            PartFailedError: a part cannot run as things are configured.
            ConfigurationError: another pool runs on this data directory, or it cannot be written.
        """
        with _locked(self._settings.data_dir), self._listening():
            environment = _environment(self._settings, self._directory)
            try:
                while not self.stop.is_set():
                    for child in self._children:
                        self._keep_alive(child, environment)
                    self.stop.wait(_POLL_S)
            finally:
                self._end()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Show what all parts count at one address, if there is one."""
        shared = _metrics_directory(self._settings)
        if shared is None:
            yield
            return
        metrics.clear_shared(shared)
        metrics.share(shared, "supervisor")
        with metrics.listen(self._settings.metrics_listen, *self._readings, shared=shared):
            yield

    @property
    def is_running(self) -> bool:
        """Whether any part runs."""
        return any(child.process is not None and child.process.poll() is None for child in self._children)

    def pids(self) -> dict[str, int]:
        """The processes that run now, by part."""
        return {child.name: child.process.pid for child in self._children if child.process is not None}

    def _keep_alive(self, child: _Child, environment: dict[str, str]) -> None:
        if child.process is None:
            if time.monotonic() >= child.start_at:
                self._start(child, environment)
            return
        code = child.process.poll()
        if code is None:
            return
        if code == EXIT_CONFIGURATION:
            raise PartFailedError(f"the {child.name} cannot run: see its message above")
        now = time.monotonic()
        child.deaths = 0 if now - child.started_at > _STEADY_AFTER_S else child.deaths + 1
        child.start_at = now + _BACKOFF_S[min(child.deaths, len(_BACKOFF_S) - 1)]
        child.process = None
        metrics.count("part_restarts", part=child.name)
        _LOG.warning("the %s ended with code %d and is started again", child.name, code)

    def _start(self, child: _Child, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "oracle.parts", str(os.getpid()), *child.arguments]
        child.process = subprocess.Popen(  # noqa: S603  # ourselves
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        child.started_at = time.monotonic()
        (self._directory / "pids.json").write_text(json.dumps(self.pids()))
        if child.name == "broker":
            self._await_broker(child.process)

    def _await_broker(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _BROKER_WITHIN_S
        while not is_listening(self._settings.broker_socket) and process.poll() is None and not self.stop.is_set():
            if time.monotonic() > deadline:
                raise PartFailedError(f"the embedded broker does not come up at {self._settings.broker_socket}")
            time.sleep(_POLL_S)

    def _end(self) -> None:
        """Ask the children to end, then make them: first those that use the others, enclaves next, the broker last."""
        deadline = time.monotonic() + _STOP_WITHIN_S + self._settings.ceiling_wall_time_ms / 1_000
        for names in (("watcher", "submitter", "worker"), ("enclave",), ("broker",)):
            running_now = [c.process for c in self._children if c.process is not None and c.arguments[0] in names]
            for process in running_now:
                process.terminate()
            for process in running_now:
                try:
                    process.wait(timeout=max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        with contextlib.suppress(OSError):
            (self._directory / "pids.json").unlink()


def pool_parts(settings: Settings) -> list[tuple[str, ...]]:
    """The parts of a whole pool: an embedded broker unless there is one by URL, and everything else."""
    broker: list[tuple[str, ...]] = [] if settings.broker_url else [("broker",)]
    others = [("submitter", str(number)) for number in range(1, len(settings.relay_keys))]
    return [*broker, *_enclave_parts(settings), ("watcher",), ("submitter",), *others, ("worker",)]


def run_up(settings: Settings) -> None:
    """
    Run a whole pool on this machine until SIGTERM or SIGINT.

    Raises:
        PartFailedError, ConfigurationError: as `Supervisor.run`; or a setting that every part needs is missing.
    """
    settings.require("coprocessor", "enclave_registry", "program_registry", "pool_id")
    if not settings.relay_keys:
        settings.require("relay_key_file")
    _require_sockets(settings)
    Store.open(settings.database, create=True).close()
    supervisor = Supervisor(settings, pool_parts(settings))
    supervisor.stop = stop_on_signals()
    supervisor.run()


def run_worker(settings: Settings) -> None:
    """A worker with its enclaves as children; without them if `enclave_socket` says that they run already."""
    if settings.enclave_socket is not None:
        run_worker_alone(settings)
        return
    _require_sockets(settings)
    supervisor = Supervisor(settings, [*_enclave_parts(settings), ("worker",)])
    supervisor.stop = stop_on_signals()
    supervisor.run()


@contextlib.contextmanager
def running(settings: Settings, ready_within_s: float = 60.0) -> Iterator[Supervisor]:
    """
    A whole pool in the background, ready to serve when the block begins and ended with it.

    Raises:
        PartFailedError, ConfigurationError: as `run_up`; or it is not ready in time; or, at the end, it failed
        meanwhile.
    """
    Store.open(settings.database, create=True).close()
    supervisor = Supervisor(settings, pool_parts(settings))
    failures: list[BaseException] = []

    def run() -> None:
        try:
            supervisor.run()
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits
            failures.append(error)

    thread = threading.Thread(target=run, name="supervisor")
    thread.start()
    try:
        _await_ready(settings, failures, ready_within_s)
        yield supervisor
    finally:
        supervisor.stop.set()
        thread.join()
    if failures:
        raise failures[0]


def _await_ready(settings: Settings, failures: Sequence[BaseException], within_s: float) -> None:
    deadline, since_ms = time.monotonic() + within_s, now_ms()
    with Store.open(settings.database) as store:
        while not is_ready(store, since_ms):
            if failures:
                raise failures[0]
            if time.monotonic() > deadline:
                raise ConfigurationError(f"the pool is not ready after {within_s:.0f} s: see the log above")
            time.sleep(_READY_POLL_S)


def is_ready(store: Store, since_ms: int = 0) -> bool:
    """
    Whether the watcher follows the chain and an enclave is registered, which takes all the other parts.

    `since_ms` leaves out enclaves that were last seen before: those of an earlier run.
    """
    return store.chain.identity() is not None and store.enclaves.is_any_live(since_ms)


def _enclave_parts(settings: Settings) -> list[tuple[str, ...]]:
    """One enclave per socket, unless `enclave_socket` says that somebody else runs them."""
    if settings.enclave_socket is not None:
        return []
    return [("enclave", str(number)) for number in range(len(enclave_sockets(settings)))]


def _require_sockets(settings: Settings) -> None:
    for path in (settings.broker_socket, *enclave_sockets(settings)):
        require_socket_path(path)


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[IO[str]]:
    """The right to run a pool in `data_dir`; the kernel takes it back when we die."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "lock").open("a+")
    except OSError as error:
        raise ConfigurationError(f"cannot write to data_dir {data_dir}: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise ConfigurationError(
                f"a pool already runs in {data_dir} (process {owner}): stop it, or choose another data_dir"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file


def _environment(settings: Settings, directory: Path) -> dict[str, str]:
    """What children get: our settings as a file, so that they see exactly what we see."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "settings.toml"
    lines = []
    for item in fields(settings):
        if item.name == "metrics_listen":
            continue  # we listen, for all of them
        value = getattr(settings, item.name)
        if value is not None:
            lines.append(f"{item.name} = {json.dumps(value, default=_resolved)}\n")
    path.write_text("".join(lines))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    shared = _metrics_directory(settings)
    return inherited | {"ADYTON_CONFIG": str(path)} | ({METRICS_DIRECTORY: str(shared)} if shared else {})


def _resolved(value: object) -> str:
    """A path as the children see it, wherever they run."""
    assert isinstance(value, Path)
    return str(value.resolve())


def _metrics_directory(settings: Settings) -> Path | None:
    """Where the parts count, if somebody wants to know."""
    return settings.data_dir.resolve() / "run" / "metrics" if settings.metrics_listen is not None else None
