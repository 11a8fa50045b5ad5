"""
Runs one part of a pool so that it can be killed -9 exactly before or after a named transition is committed.

    python -m tests.faults.dying DIRECTORY PART

A file `DIRECTORY/PART.plan` with the words `POINT before` or `POINT after` arms it, once: when PART comes to that
point it removes the file and kills itself. `before`: everything is written and COMMIT is not said; `after`: it is said,
and nothing that follows is done. The hooks are put around the store's methods here; production code knows nothing of
them.

What dies is started again at once: this process loads everything, and forks a child that runs the part. The child's
process id is in `DIRECTORY/PART.pid`.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from oracle import parts
from oracle.chain.node import RpcNode
from oracle.store.chain_log import ChainLog
from oracle.store.enclaves import Enclaves
from oracle.store.journal import Journal
from oracle.store.requests import Requests
from oracle.store.rows import EnclaveState, StoredEnclave
from oracle.store.turns import Turns
from oracle.types.block import Created, Expired, Settled
from oracle.types.transaction import SignedTransaction, TransactionKind


@dataclass(frozen=True, slots=True)
class Point:
    """A method that makes a transition; with which arguments it does; and what is written then, as text."""

    owner: type
    method: str
    applies: Callable[..., bool] = lambda *_, **__: True
    written: str = ""


def _reads(kind: type) -> Callable[..., bool]:
    def applies(_expected: object, _cursor: object, events: Any, *_: object) -> bool:
        return any(isinstance(found, kind) for found in events)

    return applies


def _carries(kind: TransactionKind) -> Callable[..., bool]:
    def applies(transaction: SignedTransaction, *_: object) -> bool:
        return transaction.kind is kind

    return applies


def _is_attested(enclave: StoredEnclave) -> bool:
    return enclave.state is EnclaveState.ATTESTED


def _succeeded(expected: bool) -> Callable[..., bool]:
    def applies(*_: object, succeeded: bool, **__: object) -> bool:
        return succeeded is expected

    return applies


POINTS = {
    "created": Point(ChainLog, "advance", _reads(Created)),
    "final": Point(ChainLog, "release"),
    "taken": Point(Turns, "take"),
    "executed": Point(Requests, "record_receipts" if hasattr(Requests, "record_receipts") else "record_receipt"),
    "failed": Point(Requests, "fail"),
    "late": Point(Requests, "fail_hopeless"),
    "tried again": Point(Requests, "take_due", written="failed"),
    "executed again": Point(Requests, "execute_again"),
    "submitted": Point(Journal, "record", _carries(TransactionKind.FULFILL)),
    "broadcast": Point(RpcNode, "broadcast"),
    "mined": Point(Journal, "conclude", _succeeded(True)),
    "reverted": Point(Journal, "conclude", _succeeded(False)),
    "settled": Point(ChainLog, "advance", _reads(Settled)),
    "expired": Point(ChainLog, "advance", _reads(Expired)),
    "rewound": Point(ChainLog, "rewind"),
    "attested": Point(Enclaves, "record_quote", _is_attested),
    "registering": Point(Journal, "record", _carries(TransactionKind.REGISTER)),
    "live": Point(Enclaves, "record_live"),
}


class _Now(threading.local):
    """What the running thread is in the midst of."""

    point: Point | None = None
    dies_before = False
    wrote = False


_now = _Now()


def install(plan: Path) -> None:
    """Put the hooks around all methods."""
    for name, point in POINTS.items():
        setattr(point.owner, point.method, _watched(name, point, getattr(point.owner, point.method), plan))

    @event.listens_for(Engine, "after_cursor_execute")
    def _note(_: Connection, cursor: Any, statement: str, parameters: object, *__: object) -> None:
        if _now.point is not None and statement.startswith(("INSERT", "UPDATE", "DELETE")) and cursor.rowcount != 0:
            _now.wrote |= _now.point.written in repr(parameters)

    @event.listens_for(Engine, "commit")
    def _before_commit(_: Connection) -> None:
        if _now.dies_before and _now.wrote:
            _die(plan)


def _watched(name: str, point: Point, method: Callable[..., Any], plan: Path) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: object, *arguments: Any, **options: Any) -> Any:
        when = _armed(plan, name)
        if when is None or not point.applies(*arguments, **options):
            return method(self, *arguments, **options)
        writes = point.owner is not RpcNode
        if not writes and when == "before":
            _die(plan)
        _now.point, _now.dies_before, _now.wrote = point, when == "before", not writes
        try:
            result = method(self, *arguments, **options)
        finally:
            _now.point, _now.dies_before = None, False
        if when == "after" and _now.wrote:
            _die(plan)
        return result

    return call


def _armed(plan: Path, name: str) -> str | None:
    try:
        point, when = plan.read_text().rsplit(" ", 1)
    except (FileNotFoundError, ValueError):
        return None
    return when if point == name else None


def _die(plan: Path) -> None:
    plan.unlink()
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Fork one child after the other."""
    directory, name = Path(sys.argv[1]), sys.argv[2]
    install(directory / f"{name}.plan")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the child dies with us
    while True:
        us, child = os.getpid(), os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.argv = ["parts", str(us), name]
            parts.main()
            os._exit(0)
        pid_file = directory / f"{name}.pid"
        pid_file.with_suffix(".new").write_text(str(child))
        pid_file.with_suffix(".new").rename(pid_file)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
