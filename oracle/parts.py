"""
The parts of a pool, one function per process: watcher, worker, submitter, enclave, broker.

Each runs until SIGTERM or SIGINT. Several of each kind may run, on several machines, over one database and one broker;
of two submitters with one relay key one stands by, with two keys they work in parallel. `python -m oracle.parts NAME`
is how the supervisor starts them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.worker import state

from oracle import log, metrics, tracing
from oracle.broker import (
    EXECUTE,
    SUBMIT,
    await_broker,
    celery_app,
    exec_embedded_broker,
    queue_name,
    require_socket_path,
    watch_broker,
)
from oracle.chain.errors import AccountHeldError, NodeUnreachableError, NotANodeError
from oracle.chain.heads import Heads
from oracle.chain.submitter import Submitter
from oracle.chain.watcher import Watcher
from oracle.config import Settings, load
from oracle.errors import AdytonError, ChainError, ChainMismatchError, RetryableError
from oracle.jobs.enclave_client import EnclaveUnreachableError
from oracle.jobs.register import RegisterDependencies, ensure_registered
from oracle.process import die_with_parent
from oracle.status import StoreReading
from oracle.store.rows import EnclaveState
from oracle.types.program import Limits
from oracle.wiring import Enclaves, Wiring, enclave_sockets, now_ms
from oracle.worker import add_submitter_tasks, add_worker_tasks

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.5
_TEND_S = 0.25  # while something is in flight
_RECHECK_S = 5.0  # what was mined, and what others left behind
_TEND_IDLE_S = 5.0  # otherwise: a reorganisation may have taken something back
_REGISTER_S = 0.2  # until every enclave is live
_REGISTER_IDLE_S = 1.0  # then: has one restarted?
METRICS_DIRECTORY = "METRICS_DIRECTORY"  # in the environment: the supervisor shows what we count there
_HOLD_S = 3.0  # how often a worker says that it still has what it took
EXIT_CONFIGURATION = 78  # sysexits.h: trying again cannot help


def run_watcher(settings: Settings) -> None:
    """
    Follow the chain until told to stop.

    Raises:
        ChainMismatchError, ConfigurationError, StoreError: what only the operator can mend.
    """
    stop = stop_on_signals()
    wiring = Wiring(settings, create_store=True)
    try:
        watcher = _patiently(stop, lambda: _checked(wiring).watcher())
        with (
            _observed(settings, "watcher", StoreReading(settings, now_ms)),
            Heads(settings.subscriptions, settings.poll_interval_s, stop) as heads,
        ):
            wiring.queue.sweep()
            if watcher is not None:
                _watch(watcher, heads, stop, _every(settings.sweep_interval_s, wiring.queue.sweep))
    finally:
        wiring.close()


@contextmanager
def _observed(settings: Settings, part: str, *readings: metrics.Reading) -> Iterator[None]:
    """Show what this process counts, and send its traces, where the settings want that."""
    tracing.set_up(settings.trace_endpoint, f"{part}@{socket.gethostname()}")
    with metrics.listen(settings.metrics_listen, *readings):
        yield


def _checked(wiring: Wiring) -> Wiring:
    """Itself, once the node serves our chain. What was a node before is one that is broken now, and waited for."""
    reader = wiring.reader
    try:
        reader.check()
    except NotANodeError as error:
        if wiring.store.chain.identity() is None:
            raise
        raise NodeUnreachableError(str(error)) from error
    return wiring


def _watch(watcher: Watcher, heads: Heads, stop: threading.Event, tick: Callable[[], None]) -> None:
    failing = False
    while not stop.is_set():
        tick()
        try:
            moved = watcher.step()
        except ChainMismatchError:
            raise
        except (RetryableError, ChainError) as error:  # a node's own errors pass as well, however it words them
            _LOG.log(logging.DEBUG if failing else logging.WARNING, "cannot read the chain, trying again: %s", error)
            failing = True
            stop.wait(_RETRY_S)
            continue
        if failing:
            _LOG.info("reading the chain again")
            failing = False
        if moved < 0:
            metrics.count("reorganisations")
            _LOG.warning("the chain was reorganised: went back %d blocks", -moved)
        if moved > 0:
            heads.found_blocks()
        if moved == 0:
            heads.wait()


def run_worker_alone(settings: Settings) -> None:
    """Execute requests, sweep, keep this machine's enclaves registered. Raises as `run_watcher`."""
    stop = stop_on_signals()
    wiring = Wiring(settings)
    try:
        registration = _patiently(stop, lambda: _checked(wiring).register())
        if registration is None:
            return
        app = celery_app(settings)
        hold = add_worker_tasks(app, wiring)
        _background("holder", _repeat, hold, stop, _HOLD_S)
        registrar = _background("registrar", _keep_registered, registration, wiring.enclaves, stop)
        with _observed(settings, "worker"):
            _consume(app, stop, queue_name(settings, EXECUTE), "threads", settings.worker_concurrency)
        stop.set()
        registrar.join(timeout=5)
    finally:
        wiring.close()


def _repeat(action: Callable[[], None], stop: threading.Event, interval_s: float) -> None:
    while not stop.wait(interval_s):
        try:
            action()
        except AdytonError as error:
            _LOG.debug("later again: %s", error)


def _keep_registered(dependencies: RegisterDependencies, enclaves: Enclaves, stop: threading.Event) -> None:
    failing = False
    while not stop.is_set():
        live = True
        for number, enclave in enumerate(enclaves.each()):
            try:
                live &= ensure_registered(dependencies, enclave) is EnclaveState.LIVE
                metrics.gauge("enclave_up", 1, enclave=str(number))
                failing = False
            except AdytonError as error:
                _LOG.log(logging.DEBUG if failing else logging.WARNING, "cannot register the enclave yet: %s", error)
                if isinstance(error, EnclaveUnreachableError):
                    metrics.gauge("enclave_up", 0, enclave=str(number))
                live, failing = False, True
        stop.wait(_REGISTER_IDLE_S if live else _REGISTER_S)


def run_submitter(settings: Settings, number: int = 0) -> None:
    """
    Send what is executed, from relay account number `number`, until told to stop. Stands by while another process owns
    that account. Raises as `run_watcher`.
    """
    stop, sent = stop_on_signals(), threading.Event()
    wiring = Wiring(with_one_relay_key(settings, number))
    try:
        submitter = _patiently(stop, lambda: _in_charge(wiring))
        if submitter is None:
            return
        app = celery_app(settings)
        add_submitter_tasks(app, wiring, sent.set)
        tender = _background("tender", _tend, wiring, stop, sent)
        with _observed(settings, "submitter"):
            _consume(app, stop, queue_name(settings, SUBMIT), "solo", 1)
        stop.set()
        sent.set()
        tender.join(timeout=5)
        submitter.hand_over()
    finally:
        wiring.close()


def with_one_relay_key(settings: Settings, number: int) -> Settings:
    """The settings of the submitter that has this one of the relay keys."""
    if number == 0 and len(settings.relay_keys) < 2:
        return settings
    return replace(settings, relay_key_file=settings.relay_keys[number], relay_key_files=())


def _in_charge(wiring: Wiring) -> Submitter:
    """The submitter, once its account is ours."""
    submitter = _checked(wiring).submitter
    submitter.take_over()
    return submitter


def _tend(wiring: Wiring, stop: threading.Event, sent: threading.Event) -> None:
    """Look after what was sent: often while something is in flight, now and then otherwise."""
    resumed, in_flight = False, 1
    submitter = wiring.submitter
    recheck, relieve = _every(_RECHECK_S, submitter.recheck), _every(_RECHECK_S, submitter.relieve)
    while not stop.is_set():
        try:
            if not resumed:
                submitter.resume()
                resumed = True
            in_flight = submitter.tend()
            recheck()
            relieve()
        except AccountHeldError as error:
            _start_anew(str(error))
        except AdytonError as error:
            _LOG.debug("cannot look after transactions now: %s", error)
        if in_flight:
            stop.wait(_TEND_S)
        elif sent.wait(_TEND_IDLE_S):
            sent.clear()


def run_enclave(settings: Settings, number: int = 0) -> None:
    """Become enclave number `number` of this machine, in a clean interpreter."""
    path = enclave_sockets(settings)[number]
    require_socket_path(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    ceilings = {field.name: getattr(settings, f"ceiling_{field.name}") for field in fields(Limits)}
    arguments = [sys.executable, "-m", "oracle.enclave.main", "--socket", str(path)]
    arguments += ["--ceilings", json.dumps(ceilings), "--log-format", settings.log_format]
    arguments += ["--quoter", settings.quoter]
    os.execv(sys.executable, arguments)  # noqa: S606  # our own interpreter, no shell


def run_broker(settings: Settings) -> None:
    """Become the embedded broker."""
    exec_embedded_broker(settings)


def _consume(app: Celery, stop: threading.Event, queue: str, pool: str, concurrency: int) -> None:
    """
    Take messages until told to stop; what is being worked on then is finished.

    When the broker goes away the process starts itself anew: a Celery worker that reconnects to Redis may wait for
    ever, on a connection that is gone or for acknowledgements that nobody can send any more. Nothing is lost, for the
    process has no state.
    """
    if not await_broker(app, stop):
        return
    _background("sentinel", _start_anew_without_broker, app, stop)
    _background("stopper", _stop_celery, stop)
    logging.getLogger("celery.worker.request").addFilter(_without_traceback)
    warnings.filterwarnings("ignore", category=SecurityWarning)  # as root in a container; the code run here is ours
    worker = app.Worker(
        queues=[queue],
        pool=pool,
        concurrency=concurrency,
        hostname=f"{queue}.{os.getpid()}@%h",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    with suppress(SystemExit):
        worker.start()
    if worker.exitcode and not stop.is_set():
        _start_anew()


def _background(name: str, function: Callable[..., None], *arguments: object) -> threading.Thread:
    """A thread whose unexpected end ends the process: half a part would look alive and do nothing."""

    def run() -> None:
        try:
            function(*arguments)
        except Exception:  # noqa: BLE001  # a bug: logged with its traceback, and the process starts again
            _LOG.exception("the %s failed", name)
            os._exit(1)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def _without_traceback(record: logging.LogRecord) -> bool:
    """A message that cannot be acknowledged comes back: one line says so."""
    record.exc_info = None
    return True


def _start_anew_without_broker(app: Celery, stop: threading.Event) -> None:
    watch_broker(app, stop)
    if not stop.is_set() and state.should_stop is None:
        _start_anew()


def _stop_celery(stop: threading.Event) -> None:
    """Celery has signal handlers of its own, but not before it has started: what came earlier is told to it here."""
    stop.wait()
    state.should_stop = os.EX_OK


def _start_anew(reason: str = "the broker went away") -> NoReturn:
    _LOG.warning("%s: starting anew", reason)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # ourselves, no shell


def _patiently(stop: threading.Event, attempt: Callable[[], Any]) -> Any:
    """What `attempt` gives, as soon as it does not raise RetryableError; None if told to stop before."""
    warned = False
    while not stop.is_set():
        try:
            return attempt()
        except RetryableError as error:
            _LOG.log(logging.DEBUG if warned else logging.WARNING, "not ready yet, trying again: %s", error)
            warned = True
            stop.wait(_RETRY_S)
    return None


def _every(interval_s: float, action: Callable[[], object]) -> Callable[[], None]:
    """A function that does `action` when it was last done `interval_s` ago."""
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if time.monotonic() - last >= interval_s:
            last = time.monotonic()
            action()

    return tick


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)
    return stop


PARTS: dict[str, Callable[..., None]] = {
    "watcher": run_watcher,
    "worker": run_worker_alone,
    "submitter": run_submitter,
    "enclave": run_enclave,
    "broker": run_broker,
}


def main() -> None:
    """`python -m oracle.parts PARENT_PID NAME [NUMBER]`: run one part as a child that dies with its parent."""
    parent, name, numbers = int(sys.argv[1]), sys.argv[2], [int(text) for text in sys.argv[3:]]
    die_with_parent(parent)
    settings = load()
    log.set_up(settings.log_format, settings.log_level)
    if METRICS_DIRECTORY in os.environ:
        metrics.share(Path(os.environ[METRICS_DIRECTORY]), "-".join(sys.argv[2:]))
    try:
        PARTS[name](settings, *numbers)
    except AdytonError as error:
        _LOG.error("%s stops: %s", name, error)  # one sentence for the operator, no traceback
        sys.exit(1 if isinstance(error, RetryableError) else EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
