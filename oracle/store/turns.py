"""
Whose request is served next: fair between consumers, and near deadlines first within that.

Each consumer has an account of the enclave time it was given, `served_us`. The one that was given least is next, and
its request with the nearest deadline is taken. So a consumer that floods waits behind its own requests only: whoever
asks for the first time, or for little, is served at once. A consumer that was away does not save up time: it starts
at the least that anybody who waited meanwhile was given. A request whose deadline is near goes before consumers with
less time, but no further ahead than `JUMP_US`, so that short deadlines cannot starve anybody either.

A request is taken by a compare-and-set that holds it until a time, for one worker, which may extend that; a worker
that is killed loses it then. Every read is bounded by the number of requests wanted, not by how many wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, func, select, update

from oracle.store.consumers import announce, charge
from oracle.store.database import Database
from oracle.store.requests import stored_request
from oracle.store.rows import RequestState, StoredRequest
from oracle.store.schema import blocks, consumers, fair_clock, inputs, requests
from oracle.types.ids import RequestId

JUMP_US = 1_000_000  # of enclave time, by which a near deadline may go before consumers with less
_CANDIDATES = 32  # consumers looked at for one take
_MAX_BACKOFF_MS = 10_000
_BACKOFF_MS = 500


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that one worker holds, with its input, and what its consumer was charged for it in advance."""

    stored: StoredRequest
    input: bytes
    charged_us: int

    @property
    def request_id(self) -> RequestId:
        """Its id."""
        return self.stored.request_id


@dataclass(frozen=True, slots=True)
class Candidate:
    """A consumer with something to take, and the nearest deadline among that."""

    consumer: bytes
    served_us: int
    cost_us: int  # of its last request
    deadline_s: int


def fair_order(candidates: Iterable[Candidate], urgent_until_s: int) -> list[Candidate]:
    """Who is served first. The rule of this module, without I/O."""
    waiting = list(candidates)
    least_us = min((candidate.served_us for candidate in waiting), default=0)

    def rank(candidate: Candidate) -> tuple[bool, int, int, bytes]:
        jumps = candidate.deadline_s <= urgent_until_s and candidate.served_us <= least_us + JUMP_US
        first, second = (
            (candidate.deadline_s, candidate.served_us) if jumps else (candidate.served_us, candidate.deadline_s)
        )
        return (not jumps, first, second, candidate.consumer)

    return sorted(waiting, key=rank)


class Turns:
    """The tables `consumers` and `fair_clock`, and who holds which row of `requests`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(
        self, worker: str, limit: int, now_ms: int, hold_ms: int, *, margin_s: int = 0, urgent_s: int = 0
    ) -> list[Taken]:
        """
        Up to `limit` PENDING requests for `worker`, in the order in which to serve them; nobody else gets them for
        `hold_ms`.

        Requests whose deadline is less than `margin_s` away, by the chain's clock or ours, are not taken; less than
        `urgent_s` makes them urgent.
        """
        with self._database.write() as connection:
            clock_us = self._lock_clock(connection)
            newest_s = connection.execute(_CHAIN_TIME).scalar() or 0
            now_s = max(now_ms // 1_000, newest_s)
            where = {"now_ms": now_ms, "least_s": now_s + margin_s}
            candidates = self._candidates(connection, clock_us, where)
            if not candidates:
                return []
            least_us = min(candidate.served_us for candidate in candidates)
            if least_us > clock_us:
                connection.execute(update(fair_clock).values(served_us=least_us))
            wanted = _choose(connection, fair_order(candidates, now_s + urgent_s), limit, where)
            return self._claim(connection, wanted, worker, now_ms, now_ms + hold_ms, least_us)

    def give_back(
        self, taken: Collection[Taken], worker: str, now_ms: int, *, reason: str | None = None, spent_us: int = 0
    ) -> None:
        """
        What `worker` could not serve, for anybody to take: at once, or with a `reason` after a pause that doubles with
        every attempt. Its consumer pays for `spent_us` only.
        """
        with self._database.write() as connection:
            for item in taken:
                attempts = item.stored.attempts + (reason is not None)
                pause_ms = 0 if reason is None else min(_MAX_BACKOFF_MS, _BACKOFF_MS << min(attempts, 16))
                values: dict[str, object] = {
                    "held_until_ms": now_ms + pause_ms,
                    "held_by": None,
                    "attempts": attempts,
                }
                if reason is not None:
                    values["reason"] = reason[:1_000]
                connection.execute(
                    update(requests)
                    .where(
                        requests.c.request_id == item.request_id,
                        requests.c.state == RequestState.PENDING,
                        requests.c.held_by == worker,
                    )
                    .values(**values)
                )
            for item in sorted(taken, key=lambda item: item.stored.request.consumer):
                charge(connection, item.stored.request.consumer, spent_us - item.charged_us)
            announce(self._database, connection, (item.stored.request.consumer for item in taken))

    def extend(self, worker: str, ids: Collection[RequestId], until_ms: int) -> None:
        """Hold those of these that `worker` still has for longer."""
        if ids:
            with self._database.write() as connection:
                connection.execute(_EXTEND, [{"id": i, "by": worker, "until": until_ms} for i in sorted(ids)])

    def release(self, worker: str, limit: int = 1_000) -> int:
        """Let go of what an earlier life of `worker` held when it was killed. Returns how many."""
        with self._database.write() as connection:
            held = (requests.c.state == RequestState.PENDING, requests.c.held_by == worker)
            rows = connection.execute(
                select(requests.c.request_id, requests.c.consumer)
                .where(*held)
                .limit(limit)
                .with_for_update(skip_locked=True)
            ).all()
            for row in rows:
                connection.execute(
                    update(requests)
                    .where(requests.c.request_id == row.request_id, *held)
                    .values(held_until_ms=0, held_by=None)
                )
            announce(self._database, connection, {row.consumer for row in rows})
        return len(rows)

    def _lock_clock(self, connection: Connection) -> int:
        """What the clock shows; from here on nobody else takes anything until we commit."""
        query = select(fair_clock.c.served_us).with_for_update()
        clock_us = connection.execute(query).scalar()
        if clock_us is None:
            connection.execute(self._database.insert(fair_clock).values(id=1, served_us=0).on_conflict_do_nothing())
            clock_us = connection.execute(query).scalar_one()
        return int(clock_us)

    def _candidates(self, connection: Connection, clock_us: int, where: dict[str, int]) -> list[Candidate]:
        """Consumers with something to take, the least served first; those without rest."""
        while True:
            rows = connection.execute(_CANDIDATES_QUERY, where).all()
            idle = [row for row in rows if row.deadline_s is None]
            for row in sorted(idle, key=lambda row: row.consumer):
                _rest(connection, row, where)
            found = [
                Candidate(row.consumer, max(row.served_us, clock_us), row.cost_us, row.deadline_s)
                for row in rows
                if row.deadline_s is not None
            ]
            if found or len(rows) < _CANDIDATES:
                return found

    def _claim(
        self,
        connection: Connection,
        wanted: Sequence[tuple[bytes, int]],
        worker: str,
        now_ms: int,
        until_ms: int,
        least_us: int,
    ) -> list[Taken]:
        """Hold the requests of `wanted` (id, charge), less those that somebody else moves just now."""
        ids = [request_id for request_id, _ in wanted]
        locked = connection.execute(
            select(requests, inputs.c.input)
            .join(inputs, inputs.c.request_id == requests.c.request_id)
            .where(requests.c.request_id.in_(ids))
            .with_for_update(of=requests, skip_locked=True)
        )
        rows = {row.request_id: row for row in locked if _is_takeable(row, now_ms)}
        if rows:
            holding = {"until": until_ms, "by": worker, "now_ms": now_ms}
            connection.execute(_HOLD, [{"id": request_id, **holding} for request_id in rows])
        charges: dict[bytes, int] = {}
        for request_id, cost_us in wanted:
            if request_id in rows:
                consumer = rows[request_id].consumer
                charges[consumer] = charges.get(consumer, 0) + cost_us
        for consumer, amount_us in sorted(charges.items()):
            charge(connection, consumer, amount_us, least_us)
        return [
            Taken(stored_request(rows[request_id]), rows[request_id].input, cost_us)
            for request_id, cost_us in wanted
            if request_id in rows
        ]


def _choose(
    connection: Connection, order: Sequence[Candidate], limit: int, where: dict[str, int]
) -> list[tuple[bytes, int]]:
    """Ids and charges: one of each consumer in turn, until there are `limit`."""
    chosen = order[:limit]
    rounds: list[list[tuple[bytes, int]]] = []
    for place, candidate in enumerate(chosen):
        share = limit // len(chosen) + (place < limit % len(chosen))
        ids = connection.execute(_NEAREST, {**where, "of": candidate.consumer, "share": share}).scalars()
        rounds.append([(request_id, candidate.cost_us) for request_id in ids])
    longest = max(map(len, rounds), default=0)
    return [ids[turn] for turn in range(longest) for ids in rounds if turn < len(ids)]


def _rest(connection: Connection, row: Row[*tuple[Any, ...]], where: dict[str, int]) -> None:
    """Look at this consumer again when the first of its held requests is free, or when there is news."""
    held = select(func.min(requests.c.held_until_ms)).where(
        requests.c.consumer == row.consumer,
        requests.c.state == RequestState.PENDING,
        requests.c.deadline_s >= where["least_s"],
        requests.c.block_number.is_not(None),
    )
    connection.execute(
        update(consumers)
        .where(consumers.c.consumer == row.consumer, consumers.c.news == row.news)
        .values(ready_at_ms=held.scalar_subquery())
    )


def _takeable(now_ms: int | ColumnElement[int]) -> tuple[ColumnElement[bool], ...]:
    return (
        requests.c.state == RequestState.PENDING,
        requests.c.held_until_ms <= now_ms,
        requests.c.block_number.is_not(None),
    )


def _is_takeable(row: Row[*tuple[Any, ...]], now_ms: int) -> bool:
    """As `_takeable`: another transaction may have moved the row since it was chosen."""
    return row.state == RequestState.PENDING and row.held_until_ms <= now_ms and row.block_number is not None


def _ready(now_ms: int | ColumnElement[int]) -> tuple[ColumnElement[bool], ...]:
    return consumers.c.ready_at_ms.is_not(None), consumers.c.ready_at_ms <= now_ms


_NOW, _LEAST = (
    bindparam("now_ms", type_=requests.c.held_until_ms.type),
    bindparam("least_s", type_=requests.c.deadline_s.type),
)
_CHAIN_TIME = select(blocks.c.timestamp_s).order_by(blocks.c.number.desc()).limit(1)
_OF_CONSUMER = and_(*_takeable(_NOW), requests.c.deadline_s >= _LEAST)
_HOLD = (
    update(requests)
    .where(requests.c.request_id == bindparam("id"), *_takeable(_NOW))
    .values(held_until_ms=bindparam("until"), held_by=bindparam("by"))
)
_EXTEND = (
    update(requests)
    .where(
        requests.c.request_id == bindparam("id"),
        requests.c.state == RequestState.PENDING,
        requests.c.held_by == bindparam("by"),
    )
    .values(held_until_ms=bindparam("until"))
)
_CANDIDATES_QUERY = (
    select(
        consumers.c.consumer,
        consumers.c.served_us,
        consumers.c.cost_us,
        consumers.c.news,
        select(requests.c.deadline_s)
        .where(requests.c.consumer == consumers.c.consumer, _OF_CONSUMER)
        .order_by(requests.c.deadline_s)
        .limit(1)
        .correlate(consumers)
        .scalar_subquery()
        .label("deadline_s"),
    )
    .where(*_ready(_NOW))
    .order_by(consumers.c.served_us)
    .limit(_CANDIDATES)
)
_NEAREST = (
    select(requests.c.request_id)
    .where(requests.c.consumer == bindparam("of"), _OF_CONSUMER)
    .order_by(requests.c.deadline_s, requests.c.nonce)
    .limit(bindparam("share"))
)
