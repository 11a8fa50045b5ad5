"""
Find what the queue forgot. The store knows every request; messages are only wake-up calls.

Wipe the broker, kill any worker: whatever is due is found here and woken again. Expired requests are given back to
their consumers, which anybody may do, and which the operator's relay pays for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from oracle import metrics
from oracle.jobs.ports import Queue
from oracle.store.consumers import MAX_PENDING_PER_CONSUMER
from oracle.store.rows import RequestState
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
    deadline_margin_s: int = 0  # PENDING requests nearer to their deadline are given up
    max_pending_per_consumer: int = MAX_PENDING_PER_CONSUMER
    expires_overdue: bool = True  # pay for the refund of what nobody answered
    expire_grace_s: int = 2  # after a deadline, so that a late block does not make the expiry revert
    limit: int = 500  # per sweep and kind
    expire_limit: int = 16  # per sweep: as many as the queue takes, so that the others are due at the next


def sweep(dependencies: SweepDependencies) -> int:
    """Wake whatever is due. Returns how many."""
    store, queue, now_ms = dependencies.store, dependencies.queue, dependencies.now_ms()
    least_s = _chain_time_s(dependencies, now_ms) + dependencies.deadline_margin_s
    late = store.requests.fail_hopeless(least_s, now_ms, dependencies.limit)
    if late:
        _LOG.warning("%d requests are too near their deadline to be served", late)
        metrics.count("woken_by_sweep", late, state="late")
    again = store.requests.execute_again(now_ms, least_s, dependencies.limit)
    if again:
        _LOG.warning("%d receipts are by enclaves that are gone: their requests are executed again", len(again))
        metrics.count("woken_by_sweep", len(again), state="orphaned")
    woken = _wake_due(dependencies, now_ms, least_s)
    for request_id in _overdue(dependencies, now_ms) if dependencies.expires_overdue else ():
        queue.expire(request_id)
        woken += 1
    for signer in store.enclaves.attested():
        queue.register(signer)
    if woken:
        _LOG.info("the sweeper woke %d requests", woken)
    return woken


def _wake_due(dependencies: SweepDependencies, now_ms: int, least_deadline_s: int) -> int:
    store, queue = dependencies.store, dependencies.queue
    skipped = store.requests.release_skipped(dependencies.limit)
    due = store.requests.take_due(
        now_ms,
        dependencies.wait_ms,
        dependencies.limit,
        least_deadline_s=least_deadline_s,
        max_pending_per_consumer=dependencies.max_pending_per_consumer,
    )
    executed = [request_id for request_id, state in due.items() if state is RequestState.EXECUTED]
    for request_id in (*skipped, *executed):
        queue.submit(request_id)
    pending = len(due) - len(executed)
    if pending:
        queue.execute(pending)
    for name, number in (("skipped", len(skipped)), ("executed", len(executed)), ("pending", pending)):
        metrics.count("woken_by_sweep", number, state=name)
    return len(skipped) + len(due)


def _overdue(dependencies: SweepDependencies, now_ms: int) -> list[RequestId]:
    """Open requests past their deadline whose expiry is not on its way."""
    store = dependencies.store
    latest_s = _chain_time_s(dependencies, now_ms) - dependencies.expire_grace_s
    ids = store.requests.take_expirable(latest_s, now_ms, dependencies.wait_ms, dependencies.expire_limit)
    return [request_id for request_id in ids if not store.journal.is_in_flight(TransactionKind.EXPIRE, request_id)]


def _chain_time_s(dependencies: SweepDependencies, now_ms: int) -> int:
    """The later of the chain's clock and ours, unix seconds."""
    return max(now_ms // 1_000, dependencies.store.chain.cursor().timestamp_s)
