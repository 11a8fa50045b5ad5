"""
Numbers about the whole store, for people and for Prometheus. Read only.

`Backlog` costs as much as there is work waiting, `Totals` as much as there ever was: the first may be read every few
seconds, the second when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, ColumnElement, cast, func, literal, select

from oracle.store.database import Database
from oracle.store.rows import EnclaveState, RequestState, TransactionState
from oracle.store.schema import blocks, consumers, enclaves, receipts, requests, transactions, versions
from oracle.types.ids import Address
from oracle.types.receipt import Outcome
from oracle.types.transaction import TransactionKind

OPEN = (RequestState.SEEN, RequestState.PENDING, RequestState.EXECUTED, RequestState.SUBMITTED, RequestState.FAILED)
_DIGITS, _UNIT = 9, 1_000_000_000  # of the lower part, so that each part of a sum fits into 64 bits


@dataclass(frozen=True, slots=True)
class Waiting:
    """Requests in one state."""

    count: int
    oldest_seen_ms: int | None
    retried: int  # of them, those that were tried before


@dataclass(frozen=True, slots=True)
class InFlight:
    """Transactions of one account that are not known to be mined."""

    count: int
    oldest_sent_ms: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits now. Requests that can still be settled, unless it says otherwise."""

    waiting: dict[RequestState, Waiting]  # every open state
    overdue: int  # open, but past their deadline
    held: int  # PENDING ones that a worker has
    consumers: int  # that have something to take, or soon
    nearest_deadline_s: int | None  # of PENDING ones
    cursor_block: int | None
    cursor_timestamp_s: int | None
    enclaves: dict[EnclaveState, int]
    live_until_s: dict[Address, int]  # of live enclaves
    in_flight: dict[Address, InFlight]


@dataclass(frozen=True, slots=True)
class Totals:
    """What there ever was."""

    outcomes: dict[Outcome, int]  # of settled requests
    expired: int
    fees_wei: dict[Address, int]  # by payee
    gas_wei: dict[TransactionKind, int]


class Statistics:
    """Over all tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def backlog(self, now_ms: int) -> Backlog:
        """What waits now."""
        with self._database.read() as connection:
            now_s = now_ms // 1_000
            is_open = (requests.c.state.in_(OPEN), requests.c.block_number.is_not(None))
            overdue = select(func.count()).select_from(requests).where(*is_open, requests.c.deadline_s < now_s)
            waiting = dict.fromkeys(OPEN, Waiting(0, None, 0))
            rows = connection.execute(
                select(
                    requests.c.state,
                    func.count(),
                    func.min(requests.c.seen_at_ms),
                    func.count().filter(requests.c.attempts > 0),
                )
                .where(*is_open, requests.c.deadline_s >= now_s)
                .group_by(requests.c.state)
            )
            waiting |= {RequestState(row[0]): Waiting(*row[1:]) for row in rows}
            pending = (*is_open, requests.c.state == RequestState.PENDING, requests.c.deadline_s >= now_s)
            held, nearest = connection.execute(
                select(
                    func.count().filter(requests.c.held_by.is_not(None), requests.c.held_until_ms > now_ms),
                    func.min(requests.c.deadline_s),
                ).where(*pending)
            ).one()
            ready = select(func.count()).select_from(consumers).where(consumers.c.ready_at_ms.is_not(None))
            cursor = connection.execute(select(blocks).order_by(blocks.c.number.desc()).limit(1)).first()
            states = connection.execute(select(enclaves.c.state, func.count()).group_by(enclaves.c.state))
            live = connection.execute(
                select(enclaves.c.signer, enclaves.c.live_until_s).where(enclaves.c.live_until_s * 1_000 > now_ms)
            )
            sent = connection.execute(
                select(
                    transactions.c.account, func.count(transactions.c.nonce.distinct()), func.min(versions.c.sent_at_ms)
                )
                .join(
                    versions,
                    (versions.c.account == transactions.c.account) & (versions.c.nonce == transactions.c.nonce),
                )
                .where(transactions.c.state == TransactionState.SENT)
                .group_by(transactions.c.account)
            )
            return Backlog(
                waiting=waiting,
                overdue=connection.execute(overdue).scalar_one(),
                held=held,
                consumers=connection.execute(ready).scalar_one(),
                nearest_deadline_s=nearest,
                cursor_block=None if cursor is None else cursor.number,
                cursor_timestamp_s=None if cursor is None else cursor.timestamp_s,
                enclaves={EnclaveState(state): count for state, count in states},
                live_until_s={Address(signer): until for signer, until in live},
                in_flight={Address(account): InFlight(count, oldest) for account, count, oldest in sent},
            )

    def undelivered(self) -> dict[Address, int]:
        """By enclave, how many of its receipts are not settled. One that has none can be revoked without loss."""
        waits = requests.c.state.in_((RequestState.EXECUTED, RequestState.SUBMITTED))
        query = select(receipts.c.signer, func.count()).join(requests, requests.c.request_id == receipts.c.request_id)
        with self._database.read() as connection:
            rows = connection.execute(query.where(waits).group_by(receipts.c.signer))
            return {Address(signer): count for signer, count in rows}

    def totals(self) -> Totals:
        """What there ever was."""
        settled = requests.c.state == RequestState.SETTLED
        with self._database.read() as connection:
            outcomes = connection.execute(
                select(requests.c.outcome, func.count()).where(settled).group_by(requests.c.outcome)
            )
            expired = select(func.count()).select_from(requests).where(requests.c.state == RequestState.EXPIRED)
            fees = connection.execute(
                select(requests.c.payee, *_sum(requests.c.fee_wei)).where(settled).group_by(requests.c.payee)
            )
            gas = connection.execute(
                select(transactions.c.kind, *_sum(transactions.c.cost_wei))
                .where(transactions.c.cost_wei.is_not(None))
                .group_by(transactions.c.kind)
            )
            return Totals(
                outcomes={Outcome(outcome): count for outcome, count in outcomes},
                expired=connection.execute(expired).scalar_one(),
                fees_wei={Address(payee): _whole(parts) for payee, *parts in fees},
                gas_wei={TransactionKind(kind): _whole(parts) for kind, *parts in gas},
            )


def _sum(money: Column[str]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Exact sum of decimal text: of all but the last nine digits, and of those."""
    padded = literal("0" * _DIGITS) + money
    high = func.substr(padded, 1, func.length(padded) - _DIGITS)
    low = func.substr(padded, func.length(padded) - _DIGITS + 1, _DIGITS)
    return func.sum(cast(high, BigInteger)), func.sum(cast(low, BigInteger))


def _whole(parts: Iterable[int]) -> int:
    high, low = map(int, parts)  # PostgreSQL gives Decimal
    return high * _UNIT + low
