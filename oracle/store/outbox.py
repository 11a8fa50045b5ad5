"""
Which relay account delivers which receipts: EXECUTED requests are held, for a short time, by one account.

Several submitters take from the same backlog without getting in each other's way, and what a killed one held is free
again soon. That a request is never carried by two transactions at a time does not depend on this: the journal's
compare-and-set decides.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, func, or_, select, update

from oracle.crypto.hashing import keccak256
from oracle.store.database import Database
from oracle.store.requests import stored_request
from oracle.store.rows import RequestState, StoredReceipt, StoredRequest
from oracle.store.schema import blocks, receipts, requests
from oracle.types.ids import Address, PoolId, RequestId
from oracle.types.receipt import Outcome, Receipt

Item = tuple[StoredRequest, StoredReceipt]
_PARAMETERS = 500  # of one query


class Group(NamedTuple):
    """What receipts have in common that can go together."""

    pool_id: PoolId
    signer: Address
    payee: Address

    @classmethod
    def of(cls, item: Item) -> Self:
        """The group of `item`."""
        stored, receipt = item
        return cls(stored.request.pool_id, receipt.signer, receipt.receipt.payee)


class Outbox:
    """Who holds which EXECUTED row of `requests`, and until when it waits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, first: RequestId, holder: str, now_ms: int, until_ms: int, limit: int) -> list[Item]:
        """
        `first`, if it is EXECUTED and nobody else holds it, and up to `limit` in all that can go with it: of the same
        enclave, pool and payee, the oldest first, held by nobody, not postponed. `holder` holds them until `until_ms`.
        None of them is past its deadline by the chain's clock: that would be refused.
        """
        where = {"first": first, "holder": holder, "now_ms": now_ms, "limit": limit}
        with self._database.write() as connection:
            return _hold(connection, [_item(row) for row in connection.execute(_TAKE, where)], holder, until_ms)

    def take_like(self, group: Group, holder: str, now_ms: int, until_ms: int, limit: int) -> list[Item]:
        """Up to `limit` of this group, as `take`."""
        where = {**group._asdict(), "holder": holder, "now_ms": now_ms, "limit": limit}
        with self._database.write() as connection:
            return _hold(connection, [_item(row) for row in connection.execute(_TAKE_LIKE, where)], holder, until_ms)

    def waiting(self, holder: str, now_ms: int, but_of: Collection[Address] = ()) -> Group | None:
        """A group of which `take_like` would find something, signed by none of `but_of`."""
        where = {"holder": holder, "now_ms": now_ms, "but_of": list(but_of)}
        with self._database.read() as connection:
            row = connection.execute(_WAITING, where).first()
        return None if row is None else Group(PoolId(row.pool_id), Address(row.signer), Address(row.payee))

    def release(self, items: Collection[RequestId], holder: str) -> None:
        """Let go of those that `holder` still holds."""
        self._update(items, {"held_until_ms": 0, "held_by": None}, requests.c.held_by == holder)

    def postpone(self, request_id: RequestId, until_ms: int, reason: str | None = None) -> None:
        """
        Nobody takes it along before `until_ms`, when the sweeper wakes it. With a `reason`, this counts as an attempt
        that failed.
        """
        values: dict[str, object] = {"held_until_ms": until_ms, "held_by": None, "due_at_ms": until_ms}
        if reason is not None:
            values |= {"reason": reason[:1_000], "attempts": requests.c.attempts + 1}
        self._update([request_id], values)

    def _update(
        self, items: Collection[RequestId], values: dict[str, object], *conditions: ColumnElement[bool]
    ) -> None:
        ids = list(items)
        with self._database.write() as connection:
            for first in range(0, len(ids), _PARAMETERS):
                connection.execute(
                    update(requests)
                    .where(
                        requests.c.request_id.in_(ids[first : first + _PARAMETERS]),
                        requests.c.state == RequestState.EXECUTED,
                        *conditions,
                    )
                    .values(**values)
                )


def _hold(connection: Connection, items: list[Item], holder: str, until_ms: int) -> list[Item]:
    ids = [stored.request_id for stored, _ in items]
    for first in range(0, len(ids), _PARAMETERS):
        connection.execute(_HOLD, {"ids": ids[first : first + _PARAMETERS], "holder": holder, "until_ms": until_ms})
    return items


_RECEIPT = [
    receipts.c[name].label(f"receipt_{name}")
    for name in ("outcome", "output", "fuel_used", "payee", "signer", "signature", "logs", "context", "transcript")
]


_NOW_S = func.coalesce(select(func.max(blocks.c.timestamp_s)).scalar_subquery(), 0)
_EXECUTED = (
    requests.c.state == RequestState.EXECUTED,
    requests.c.block_number.is_not(None),
    requests.c.deadline_s >= _NOW_S,
)
_NOT_WAITING = or_(requests.c.held_until_ms <= bindparam("now_ms"), requests.c.held_by == bindparam("holder"))
_ITEMS = select(requests, *_RECEIPT).join(receipts, receipts.c.request_id == requests.c.request_id).where(*_EXECUTED)
_TAKE_LIKE = (
    _ITEMS.where(
        requests.c.pool_id == bindparam("pool_id"),
        receipts.c.signer == bindparam("signer"),
        receipts.c.payee == bindparam("payee"),
        _NOT_WAITING,
    )
    .order_by(requests.c.executed_at_ms)
    .limit(bindparam("limit"))
    .with_for_update(of=requests, skip_locked=True)
)
_WAITING = (
    select(requests.c.pool_id, receipts.c.signer, receipts.c.payee)
    .join(receipts, receipts.c.request_id == requests.c.request_id)
    .where(*_EXECUTED, _NOT_WAITING, receipts.c.signer.not_in(bindparam("but_of", expanding=True)))
    .limit(1)
)
_HEAD, _HEAD_RECEIPT = requests.alias("head"), receipts.alias("head_receipt")
_TAKE = (
    _ITEMS.join(
        _HEAD,
        and_(
            _HEAD.c.request_id == bindparam("first"),
            _HEAD.c.state == RequestState.EXECUTED,
            _HEAD.c.deadline_s >= _NOW_S,
            or_(
                _HEAD.c.held_by.is_(None),
                _HEAD.c.held_by == bindparam("holder"),
                _HEAD.c.held_until_ms <= bindparam("now_ms"),
            ),
        ),
    )
    .join(_HEAD_RECEIPT, _HEAD_RECEIPT.c.request_id == _HEAD.c.request_id)
    .where(
        requests.c.pool_id == _HEAD.c.pool_id,
        receipts.c.signer == _HEAD_RECEIPT.c.signer,
        receipts.c.payee == _HEAD_RECEIPT.c.payee,
        or_(requests.c.request_id == bindparam("first"), _NOT_WAITING),
    )
    .order_by(requests.c.request_id != bindparam("first"), requests.c.executed_at_ms)
    .limit(bindparam("limit"))
    .with_for_update(of=requests, skip_locked=True)
)
_HOLD = (
    update(requests)
    .where(requests.c.request_id.in_(bindparam("ids", expanding=True)))
    .values(held_by=bindparam("holder"), held_until_ms=bindparam("until_ms"))
)


def _item(row: Row[Any]) -> Item:
    receipt = Receipt(
        RequestId(row.request_id),
        Outcome(row.receipt_outcome),
        keccak256(row.receipt_output),
        row.receipt_fuel_used,
        Address(row.receipt_payee),
        row.receipt_context,
    )
    signed = Address(row.receipt_signer), row.receipt_signature
    stored = StoredReceipt(receipt, row.receipt_output, *signed, row.receipt_logs, row.receipt_transcript)
    return stored_request(row), stored
