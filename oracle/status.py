"""
What a pool is doing, as its store tells it: one document for `adyton status`, the same numbers for Prometheus.

Nothing here asks the chain or an enclave; those who do count into `oracle.metrics`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from oracle import metrics
from oracle.config import Settings
from oracle.errors import AdytonError
from oracle.store.rows import EnclaveState, StoredRequest
from oracle.store.statistics import Backlog
from oracle.store.store import Store
from oracle.types.ids import hex_of

_S = 1_000


def document(store: Store, now_ms: int, latest: int) -> dict[str, Any]:
    """Everything, for one JSON object: money in wei, ages in seconds."""
    backlog, totals = store.statistics.backlog(now_ms), store.statistics.totals()
    cursor, undelivered = store.chain.cursor(), store.statistics.undelivered()
    return {
        "requests": {state.value: count for state, count in store.requests.counts().items() if count},
        "queue": {
            state.value: {
                "count": waiting.count,
                "oldest_s": _age(waiting.oldest_seen_ms, now_ms),
                "retried": waiting.retried,
            }
            for state, waiting in backlog.waiting.items()
        },
        "overdue": backlog.overdue,
        "in_execution": backlog.held,
        "consumers_waiting": backlog.consumers,
        "nearest_deadline_s": backlog.nearest_deadline_s,
        "outcomes": {outcome.name.lower(): count for outcome, count in totals.outcomes.items()},
        "expired": totals.expired,
        "fees_earned_wei": {hex_of(payee): fees for payee, fees in totals.fees_wei.items()},
        "gas_spent_wei": {kind.value: cost for kind, cost in totals.gas_wei.items()},
        "transactions_in_flight": {
            hex_of(account): {"count": sent.count, "oldest_s": _age(sent.oldest_sent_ms, now_ms)}
            for account, sent in backlog.in_flight.items()
        },
        "cursor": {
            "number": cursor.number,
            "hash": hex_of(cursor.hash),
            "age_s": max(0, now_ms // _S - cursor.timestamp_s),
        },
        "enclaves": [
            {
                "signer": hex_of(enclave.signer),
                "state": enclave.state.value,
                "live_until_s": enclave.live_until_s,
                "undelivered": undelivered.get(enclave.signer, 0),
                "refusal": enclave.refusal,
            }
            for enclave in store.enclaves.newest(latest)
        ],
        "latest": [_request(stored) for stored in store.requests.latest(latest)],
    }


def _request(stored: StoredRequest) -> dict[str, Any]:
    return {
        "request_id": hex_of(stored.request_id),
        "state": stored.state.value,
        "outcome": stored.outcome.name if stored.outcome else None,
        "fee_wei": stored.fee_wei,
        "attempts": stored.attempts,
        "reason": stored.reason,
    }


def _age(since_ms: int | None, now_ms: int) -> int | None:
    return None if since_ms is None else max(0, now_ms - since_ms) // _S


def families(backlog: Backlog, now_ms: int) -> Sequence[metrics.Family]:
    """The numbers that change by themselves, as gauges."""
    waiting = backlog.waiting.items()
    ages: metrics.Samples = {(state.value,): float(_age(found.oldest_seen_ms, now_ms) or 0) for state, found in waiting}
    sent = {hex_of(account): found for account, found in backlog.in_flight.items()}
    enclaves: metrics.Samples = {(state.value,): float(backlog.enclaves.get(state, 0)) for state in EnclaveState}
    found: list[metrics.Family] = [
        ("requests", "Open requests.", ("state",), {(state.value,): float(found.count) for state, found in waiting}),
        ("oldest_request_seconds", "Age of the oldest open request.", ("state",), ages),
        (
            "requests_retried",
            "Open requests that were tried before.",
            ("state",),
            {(state.value,): float(found.retried) for state, found in waiting},
        ),
        ("requests_overdue", "Open requests past their deadline.", (), {(): float(backlog.overdue)}),
        ("requests_in_execution", "Requests that a worker has.", (), {(): float(backlog.held)}),
        ("consumers_waiting", "Consumers whose requests wait for a worker.", (), {(): float(backlog.consumers)}),
        ("enclaves", "Enclaves by the state of their registration.", ("state",), enclaves),
        (
            "enclave_live_seconds",
            "For how long each live enclave still counts.",
            ("signer",),
            {(hex_of(signer),): until - now_ms / _S for signer, until in backlog.live_until_s.items()},
        ),
        (
            "transactions_in_flight",
            "Transactions that are sent and not known to be mined.",
            ("account",),
            {(account,): float(found.count) for account, found in sent.items()},
        ),
        (
            "oldest_transaction_seconds",
            "Age of the oldest of them.",
            ("account",),
            {(account,): float(_age(found.oldest_sent_ms, now_ms) or 0) for account, found in sent.items()},
        ),
    ]
    if backlog.cursor_block is not None and backlog.cursor_timestamp_s is not None:
        age_s = max(0.0, now_ms / _S - backlog.cursor_timestamp_s)
        found += [
            ("cursor_block", "Last block that is stored.", (), {(): float(backlog.cursor_block)}),
            ("cursor_age_seconds", "How long ago that block was made.", (), {(): age_s}),
        ]
    return found


class StoreReading(metrics.Reading):
    """`families` of the store of these settings, which is opened when first asked for, and again after a failure."""

    def __init__(self, settings: Settings, now_ms: metrics.Clock) -> None:
        super().__init__(self._read_store)
        self._url = settings.database
        self._now_ms = now_ms
        self._store: Store | None = None
        self._lock = threading.Lock()  # each answer is made in a thread of its own

    def _read_store(self) -> Iterable[metrics.Family]:
        with self._lock:
            try:
                if self._store is None:
                    self._store = Store.open(self._url)
                now_ms = self._now_ms()
                return families(self._store.statistics.backlog(now_ms), now_ms)
            except AdytonError:
                if self._store is not None:
                    self._store.close()
                self._store = None
                raise
