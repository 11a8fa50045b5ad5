"""
What is remembered of each consumer: the enclave time it was given, and whether it may have something to take.

Written as part of transactions of others, after whatever they write to `requests` and in the order of the consumers'
addresses, so that two of them never wait for each other. See `oracle.store.turns` for how it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, bindparam, case, func, select, update

from oracle.store.database import Database
from oracle.store.rows import RequestState
from oracle.store.schema import consumers, requests
from oracle.types.ids import Address

MAX_PENDING_PER_CONSUMER = 100_000
LEAST_US = 500  # that any attempt counts as
_PARAMETERS = 500  # of one query


@dataclass(frozen=True, slots=True)
class Served:
    """An attempt at a request that is over: whose it was, what it was charged in advance, and what it took."""

    consumer: Address
    charged_us: int
    spent_us: int


def announce(database: Database, connection: Connection, who: Iterable[bytes]) -> None:
    """These consumers may have something to take. Part of every transaction that makes a request takeable."""
    rows = [{"consumer": consumer} for consumer in sorted(set(who))]
    if rows:
        insert = database.insert(consumers).values(
            consumer=bindparam("consumer"), served_us=0, cost_us=LEAST_US, ready_at_ms=0, news=1
        )
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=["consumer"],
                set_={"ready_at_ms": 0, "news": consumers.c.news + 1},
            ),
            rows,
        )


_SERVED = consumers.c.served_us
_OF = consumers.c.consumer == bindparam("who")
_ADD = update(consumers).where(_OF).values(served_us=_SERVED + bindparam("amount_us"))
_ADD_AND_SET_COST = _ADD.values(cost_us=bindparam("new_cost_us"))
_ADD_FROM = (
    update(consumers)
    .where(_OF)
    .values(
        served_us=case((bindparam("least_us") > _SERVED, bindparam("least_us")), else_=_SERVED) + bindparam("amount_us")
    )
)


def charge(connection: Connection, consumer: bytes, amount_us: int, least_us: int = 0) -> None:
    """Add to what `consumer` was given, counted from `least_us` at least."""
    statement = _ADD_FROM if least_us else _ADD
    values = {"who": consumer, "amount_us": amount_us}
    connection.execute(statement, values | {"least_us": least_us} if least_us else values)


def settle_accounts(connection: Connection, attempts: Iterable[Served]) -> None:
    """Correct what was charged in advance."""
    values = [
        {
            "who": served.consumer,
            "amount_us": max(LEAST_US, served.spent_us) - served.charged_us,
            "new_cost_us": max(LEAST_US, served.spent_us),
        }
        for served in sorted(attempts, key=lambda served: served.consumer)
    ]
    if values:
        connection.execute(_ADD_AND_SET_COST, values)


class Room:
    """How many more requests of each consumer may become PENDING."""

    def __init__(self, most: int, counts: Mapping[bytes, int]) -> None:
        self._most = most
        self._counts = dict(counts)

    @classmethod
    def of(cls, connection: Connection, who: Iterable[bytes], most: int) -> Self:
        """As it stands now, for these consumers."""
        counts: dict[bytes, int] = {}
        wanted = sorted(set(who))
        for first in range(0, len(wanted), _PARAMETERS):
            some = requests.c.consumer.in_(wanted[first : first + _PARAMETERS])
            query = select(requests.c.consumer, func.count()).where(some, requests.c.state == RequestState.PENDING)
            counts.update(
                (consumer, count) for consumer, count in connection.execute(query.group_by(requests.c.consumer))
            )
        return cls(most, counts)

    def take(self, consumer: bytes) -> bool:
        """Whether there is room for one more, which is then taken."""
        count = self._counts.get(consumer, 0)
        self._counts[consumer] = count + (count < self._most)
        return count < self._most
