"""
Find what the queue forgot. The store knows every request; messages are only wake-up calls.

Wipe the broker, kill any worker: whatever is due is found here and woken again. Expired requests are given back to
their consumers, which anybody may do, and which the operator's relay pays for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from oracle.jobs.ports import Queue
from oracle.store.rows import EnclaveState, RequestState
from oracle.store.store import Store
from oracle.types.ids import RequestId
from oracle.types.transaction import TransactionKind

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SweepDependencies:
    """What `sweep` works with."""

    store: Store
    queue: Queue
    now_ms: Callable[[], int]
    wait_ms: int = 5_000  # before a request is woken again
    expires_overdue: bool = True  # pay for the refund of what nobody answered
    expire_grace_s: int = 2  # after a deadline, so that a late block does not make the expiry revert
    limit: int = 500  # per sweep and kind


def sweep(dependencies: SweepDependencies) -> int:
    """Wake whatever is due. Returns how many."""
    store, queue, now_ms = dependencies.store, dependencies.queue, dependencies.now_ms()
    woken = 0
    for request_id in store.requests.release_skipped():
        queue.submit(request_id)
        woken += 1
    for request_id, state in store.requests.take_due(now_ms, dependencies.wait_ms, dependencies.limit).items():
        wake = queue.execute if state is RequestState.PENDING else queue.submit
        wake(request_id)
        woken += 1
    for request_id in _overdue(dependencies, now_ms) if dependencies.expires_overdue else ():
        queue.expire(request_id)
        woken += 1
    for enclave in store.enclaves.all():
        if enclave.state is EnclaveState.ATTESTED:
            queue.register(enclave.signer)
    if woken:
        _LOG.info("the sweeper woke %d requests", woken)
    return woken


def _overdue(dependencies: SweepDependencies, now_ms: int) -> list[RequestId]:
    """Open requests past their deadline whose expiry is not on its way."""
    store = dependencies.store
    latest_s = max(now_ms // 1_000, store.chain.cursor().timestamp_s) - dependencies.expire_grace_s
    ids = store.requests.take_expirable(latest_s, now_ms, dependencies.wait_ms, dependencies.limit)
    return [request_id for request_id in ids if not store.journal.is_in_flight(TransactionKind.EXPIRE, request_id)]
