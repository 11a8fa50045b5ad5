"""
The Celery tasks: each takes an id and calls one job. Nothing else happens here.

A task that fails for a reason of ours is logged in one line and acknowledged: the request keeps its state, and the
sweeper brings it back. Celery's own retries would only hold the message hostage.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import Celery

from oracle.errors import AdytonError
from oracle.jobs.execute import execute
from oracle.jobs.submit import expire, submit, submit_registration
from oracle.jobs.sweep import sweep
from oracle.types.ids import Address, RequestId, parse_hex
from oracle.wiring import Wiring

_LOG = logging.getLogger(__name__)


def add_worker_tasks(app: Celery, wiring: Wiring) -> None:
    """Tasks of the queue `execute`."""
    for_execute, for_sweep = wiring.execute(), wiring.sweep()

    def run_execute(request_id: str) -> None:
        execute(for_execute, _request_id(request_id))

    def run_sweep() -> None:
        sweep(for_sweep)

    _add(app, execute=run_execute, sweep=run_sweep)


def add_submitter_tasks(app: Celery, wiring: Wiring, sent: Callable[[], None]) -> None:
    """Tasks of the queue `submit`. `sent` is called after each, for there may be something in flight."""
    dependencies = wiring.submit()

    def run_submit(request_id: str) -> None:
        submit(dependencies, _request_id(request_id))
        sent()

    def run_expire(request_id: str) -> None:
        expire(dependencies, _request_id(request_id))
        sent()

    def run_register(signer: str) -> None:
        submit_registration(dependencies, Address(parse_hex(signer, 20, "signer")))
        sent()

    _add(app, submit=run_submit, expire=run_expire, register=run_register)


def _add(app: Celery, **tasks: Callable[..., None]) -> None:
    for name, function in tasks.items():
        app.task(name=name)(_one_line_errors(name, function))


def _one_line_errors(name: str, function: Callable[..., None]) -> Callable[..., None]:
    def run(*arguments: Any) -> None:
        try:
            function(*arguments)
        except AdytonError as error:
            _LOG.warning("%s, later again: %s", name, error, extra={"request_id": arguments[0]} if arguments else {})

    return run


def _request_id(text: str) -> RequestId:
    return RequestId(parse_hex(text, 32, "request id"))
