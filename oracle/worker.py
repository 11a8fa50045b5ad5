"""
The Celery tasks: each calls one job, with an id if it is about one thing. Nothing else happens here.

A task that fails for a reason of ours is logged in one line and acknowledged: the request keeps its state, and the
sweeper brings it back. Celery's own retries would only hold the message hostage.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery

from oracle import log, metrics, tracing
from oracle.errors import AdytonError
from oracle.jobs.collateral import submit_call
from oracle.jobs.execute import keep_holding, release, work
from oracle.jobs.submit import expire, submit, submit_registration, submit_waiting
from oracle.jobs.sweep import sweep
from oracle.types.ids import Address, RequestId, parse_hex
from oracle.wiring import Wiring

_LOG = logging.getLogger(__name__)
_ABOUT = {"submit": "request_id", "expire": "request_id", "register": "signer", "call": "call_id"}  # the argument


def add_worker_tasks(app: Celery, wiring: Wiring) -> Callable[[], None]:
    """Tasks of the queue `execute`. Returns what has to be called every few seconds to hold on to what they took."""
    for_execute, for_sweep = wiring.execute(), wiring.sweep()

    release(for_execute)

    def run_execute(*_: str) -> None:
        work(for_execute)

    def run_sweep() -> None:
        sweep(for_sweep)
        work(for_execute)  # so that every message of this queue stands for a wake-up call

    _add(app, execute=run_execute, sweep=run_sweep)
    return partial(keep_holding, for_execute)


def add_submitter_tasks(app: Celery, wiring: Wiring, sent: Callable[[], None]) -> None:
    """Tasks of the queue `submit`. `sent` is called after each, for there may be something in flight."""
    dependencies = wiring.submit()

    def run_submit(request_id: str) -> None:
        with tracing.span("submit", _request_id(request_id)):
            go_on_with(submit(dependencies, _request_id(request_id)))

    def run_expire(request_id: str) -> None:
        expire(dependencies, _request_id(request_id))

    def run_register(signer: str) -> None:
        submit_registration(dependencies, Address(parse_hex(signer, 20, "signer")))

    def run_call(call_id: str) -> None:
        submit_call(dependencies.store, dependencies.submitter, parse_hex(call_id, 32, "call id"))

    def go_on_with(left: RequestId | None) -> None:
        if left is not None:
            wiring.queue.submit(left)

    def then_all(task: Callable[[str], None]) -> Callable[[str], None]:
        """So that every message of this queue stands for all receipts that wait."""

        def run(about: str) -> None:
            try:
                task(about)
            finally:
                sent()
            go_on_with(submit_waiting(dependencies))
            sent()

        return run

    tasks = {"submit": run_submit, "expire": run_expire, "register": run_register, "call": run_call}
    _add(app, **{name: then_all(task) for name, task in tasks.items()})


def _add(app: Celery, **tasks: Callable[..., None]) -> None:
    for name, function in tasks.items():
        app.task(name=name)(_one_line_errors(name, function))


def _one_line_errors(name: str, function: Callable[..., None]) -> Callable[..., None]:
    def run(*arguments: Any) -> None:
        with log.about(**({_ABOUT[name]: arguments[0]} if name in _ABOUT and arguments else {})):
            try:
                function(*arguments)
            except AdytonError as error:
                metrics.count("retries", task=name)
                _LOG.warning("%s, later again: %s", name, error)

    return run


def _request_id(text: str) -> RequestId:
    return RequestId(parse_hex(text, 32, "request id"))
