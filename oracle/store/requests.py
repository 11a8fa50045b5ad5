"""
The life of a request off-chain: named transitions, each a compare-and-set on the state.

A transition that finds another state than it expects changes nothing and returns False: somebody else was faster, and
every step may be repeated without harm. What the chain says (settled, expired, reorganised) is written by
`oracle.store.chain_log`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Update, and_, bindparam, delete, func, or_, select, update

from oracle.crypto.hashing import keccak256
from oracle.store.consumers import MAX_PENDING_PER_CONSUMER, Room, Served, announce, settle_accounts
from oracle.store.database import Database
from oracle.store.enclaves import is_lost
from oracle.store.rows import RequestState, StoredReceipt, StoredRequest, TransactionState
from oracle.store.schema import blocks, enclaves, inputs, receipts, requests, transactions
from oracle.types.finality import Finality
from oracle.types.ids import Address, PoolId, ProgramId, RequestId
from oracle.types.receipt import Outcome, Receipt
from oracle.types.request import Request

TOO_LATE = "its deadline is too near to settle it"
ORPHANED = "its enclave ended before the receipt was accepted"
UNKNOWN_AFTER_MS = 10_000  # a worker makes its enclaves known within a second
GONE_AFTER_MS = 90_000  # an enclave that waits for collateral is attested again every minute
_MAX_BACKOFF_MS = 60_000
_MOST_PENDING = 100  # per sweep: any one of them wakes a worker, which then takes whatever there is
_OPEN = (RequestState.SEEN, RequestState.PENDING, RequestState.EXECUTED, RequestState.SUBMITTED, RequestState.FAILED)


class Requests:
    """The tables `requests`, `inputs` and `receipts`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert_receipt = database.insert(receipts).on_conflict_do_nothing()

    def get(self, request_id: RequestId) -> StoredRequest | None:
        """The request, or None if no event ever named it."""
        with self._database.read() as connection:
            row = connection.execute(select(requests).where(requests.c.request_id == request_id)).first()
        return None if row is None else stored_request(row)

    def input(self, request_id: RequestId) -> bytes | None:
        """The input as the chain logged it."""
        with self._database.read() as connection:
            return connection.scalar(select(inputs.c.input).where(inputs.c.request_id == request_id))

    def receipt(self, request_id: RequestId) -> StoredReceipt | None:
        """The receipt that an enclave signed, if there is one."""
        with self._database.read() as connection:
            row = connection.execute(select(receipts).where(receipts.c.request_id == request_id)).first()
        return None if row is None else _stored_receipt(row)

    def record_receipt(self, stored: StoredReceipt, now_ms: int, served: Served | None = None) -> bool:
        """`record_receipts` of one."""
        return bool(self.record_receipts([(stored, served)], now_ms))

    def record_receipts(self, made: Sequence[tuple[StoredReceipt, Served | None]], now_ms: int) -> set[RequestId]:
        """
        PENDING or FAILED -> EXECUTED, each with its receipt, in one commit. The first receipt stays: a later one is
        dropped. What was served says what to charge the consumers. Returns the requests that moved.
        """
        values = {stored.receipt.request_id: _receipt_values(stored) for stored, _ in made}
        with self._database.write() as connection:
            moved = connection.execute(_TO_EXECUTE, {"ids": list(values)}).scalars().all()
            if moved:
                connection.execute(_SET_EXECUTED, [{"id": request_id, "now_ms": now_ms} for request_id in moved])
                connection.execute(self._insert_receipt, [values[RequestId(request_id)] for request_id in moved])
            settle_accounts(connection, [served for _, served in made if served is not None])
        return set(map(RequestId, moved))

    def fail(self, request_id: RequestId, reason: str, served: Served | None = None) -> bool:
        """
        PENDING -> FAILED: no receipt can be made as things are. The sweeper tries again, ever more rarely, until the
        deadline.
        """
        with self._database.write() as connection:
            moved = connection.execute(
                _move(request_id, RequestState.FAILED, RequestState.PENDING).values(
                    reason=reason[:1_000], attempts=requests.c.attempts + 1, held_until_ms=0, held_by=None
                )
            ).rowcount
            if served is not None:
                settle_accounts(connection, [served])
        return bool(moved)

    def fail_hopeless(self, least_deadline_s: int, now_ms: int, limit: int) -> int:
        """PENDING -> FAILED for up to `limit` that nobody holds and whose deadline is before `least_deadline_s`."""
        hopeless = (
            requests.c.state == RequestState.PENDING,
            requests.c.deadline_s < least_deadline_s,
            requests.c.held_until_ms <= now_ms,
        )
        with self._database.write() as connection:
            ids = connection.execute(
                select(requests.c.request_id).where(*hopeless).limit(limit).with_for_update(skip_locked=True)
            ).scalars()
            failed = update(requests).values(
                state=RequestState.FAILED, reason=TOO_LATE, attempts=requests.c.attempts + 1
            )
            moved = [
                connection.execute(failed.where(requests.c.request_id == request_id, *hopeless)).rowcount
                for request_id in ids.all()
            ]
        return sum(moved)

    def note(self, request_id: RequestId, reason: str) -> None:
        """Keep why an attempt did not succeed; the state stays."""
        with self._database.write() as connection:
            connection.execute(
                update(requests)
                .where(requests.c.request_id == request_id)
                .values(reason=reason[:1_000], attempts=requests.c.attempts + 1)
            )

    def take_due(
        self,
        now_ms: int,
        wait_ms: int,
        limit: int,
        *,
        least_deadline_s: int = 0,
        max_pending_per_consumer: int = MAX_PENDING_PER_CONSUMER,
    ) -> dict[RequestId, RequestState]:
        """
        Up to `limit` requests of each kind that nobody moved for too long: PENDING, EXECUTED, and FAILED ones, which
        become PENDING again unless their consumer has too many of those.

        Each is due again after `wait_ms`, doubled with every failed attempt up to a minute, so a repeated sweep does
        not flood the queue. Requests past their deadline by the chain's clock are left to `take_expirable`, those
        without a receipt and before `least_deadline_s` as well.
        """
        taken: dict[RequestId, RequestState] = {}
        with self._database.write() as connection:
            executed = _due(connection, RequestState.EXECUTED, now_ms, 0, limit)
            failed = _due(connection, RequestState.FAILED, now_ms, least_deadline_s, limit)
            pending = _due(connection, RequestState.PENDING, now_ms, least_deadline_s, min(limit, _MOST_PENDING))
            room = Room.of(connection, (row.consumer for row in failed), max_pending_per_consumer)
            changes = []
            for row in (*executed, *failed, *pending):
                state = RequestState(row.state)
                if state is RequestState.FAILED and room.take(row.consumer):
                    state = RequestState.PENDING
                if state is not RequestState.FAILED:
                    taken[RequestId(row.request_id)] = state
                due_at_ms = now_ms + min(_MAX_BACKOFF_MS, wait_ms << min(row.attempts, 16))
                changes.append({"id": row.request_id, "from": row.state, "to": state, "due": due_at_ms})
            if changes:
                connection.execute(_SET_DUE, changes)
            announce(
                self._database,
                connection,
                (row.consumer for row in (*failed, *pending) if taken.get(row.request_id) is RequestState.PENDING),
            )
        return taken

    def release_skipped(self, limit: int = 1_000) -> list[RequestId]:
        """
        SUBMITTED -> EXECUTED for up to `limit` requests whose transaction is mined, whose block the watcher has read,
        and which are open nevertheless: the batch skipped them.
        """
        cursor = select(func.max(blocks.c.number)).scalar_subquery()
        mined = and_(
            transactions.c.account == requests.c.sent_account,
            transactions.c.nonce == requests.c.sent_nonce,
            transactions.c.state == TransactionState.MINED,
            transactions.c.mined_block <= cursor,
        )
        with self._database.write() as connection:
            rows = connection.execute(
                select(requests.c.request_id)
                .join(transactions, mined)
                .where(requests.c.state == RequestState.SUBMITTED)
                .limit(limit)
            )
            ids = [RequestId(row.request_id) for row in rows]
            for request_id in ids:
                connection.execute(
                    _move(request_id, RequestState.EXECUTED, RequestState.SUBMITTED).values(
                        sent_account=None, sent_nonce=None, sent_at_ms=None, attempts=requests.c.attempts + 1
                    )
                )
        return ids

    def execute_again(self, now_ms: int, least_deadline_s: int, limit: int) -> list[RequestId]:
        """
        EXECUTED -> PENDING, without the receipt, for up to `limit` requests that nobody holds and whose receipt will
        never be accepted: its enclave is lost, or ended before anything was written down about it.
        """
        unknown = enclaves.c.signer.is_(None) & (requests.c.executed_at_ms <= now_ms - UNKNOWN_AFTER_MS)
        lost = enclaves.c.signer.is_not(None) & is_lost(now_ms - GONE_AFTER_MS)
        free = (
            requests.c.state == RequestState.EXECUTED,
            requests.c.held_until_ms <= now_ms,
            requests.c.deadline_s >= least_deadline_s,
            requests.c.block_number.is_not(None),
        )
        back = update(requests).values(
            state=RequestState.PENDING,
            reason=ORPHANED,
            executed_at_ms=None,
            due_at_ms=now_ms,
            held_until_ms=0,
            held_by=None,
            attempts=0,
        )
        with self._database.write() as connection:
            rows = connection.execute(
                select(requests.c.request_id, requests.c.consumer)
                .join(receipts, receipts.c.request_id == requests.c.request_id)
                .outerjoin(enclaves, enclaves.c.signer == receipts.c.signer)
                .where(*free, or_(unknown, lost))
                .limit(limit)
                .with_for_update(of=requests, skip_locked=True)
            ).all()
            moved = [
                row
                for row in rows
                if connection.execute(back.where(requests.c.request_id == row.request_id, *free)).rowcount
            ]
            for row in moved:
                connection.execute(delete(receipts).where(receipts.c.request_id == row.request_id))
            announce(self._database, connection, {row.consumer for row in moved})
        return [RequestId(row.request_id) for row in moved]

    def take_expirable(self, now_s: int, now_ms: int, wait_ms: int, limit: int) -> list[RequestId]:
        """Up to `limit` open requests whose deadline is before `now_s`, the oldest first, each once per wait."""
        overdue = (
            requests.c.state.in_(_OPEN),
            requests.c.deadline_s < now_s,
            requests.c.due_at_ms <= now_ms,
            requests.c.block_number.is_not(None),
        )
        with self._database.write() as connection:
            query = select(requests.c.request_id).where(*overdue).order_by(requests.c.deadline_s).limit(limit)
            ids = [RequestId(value) for value in connection.execute(query).scalars()]
            again = {"due_at_ms": now_ms + wait_ms}
            return [
                request_id
                for request_id in ids
                if connection.execute(
                    update(requests).where(requests.c.request_id == request_id, *overdue).values(**again)
                ).rowcount
            ]

    def executed_by(
        self, signer: Address, limit: int, pool_id: PoolId | None = None, payee: Address | None = None
    ) -> list[RequestId]:
        """Up to `limit` EXECUTED requests whose receipt `signer` signed, the oldest first."""
        conditions: list[ColumnElement[bool]] = [requests.c.state == RequestState.EXECUTED, receipts.c.signer == signer]
        if pool_id is not None:
            conditions.append(requests.c.pool_id == pool_id)
        if payee is not None:
            conditions.append(receipts.c.payee == payee)
        with self._database.read() as connection:
            rows = connection.execute(
                select(requests.c.request_id)
                .join(receipts, receipts.c.request_id == requests.c.request_id)
                .where(*conditions, requests.c.block_number.is_not(None))
                .order_by(requests.c.executed_at_ms)
                .limit(limit)
            ).all()
        return [RequestId(row.request_id) for row in rows]

    def counts(self) -> dict[RequestState, int]:
        """How many requests are in each state."""
        with self._database.read() as connection:
            rows = connection.execute(select(requests.c.state, func.count()).group_by(requests.c.state)).all()
        return dict.fromkeys(RequestState, 0) | {RequestState(state): count for state, count in rows}

    def latest(self, limit: int) -> list[StoredRequest]:
        """The newest requests first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(requests).order_by(requests.c.seen_at_ms.desc(), requests.c.nonce.desc()).limit(limit)
            ).all()
        return [stored_request(row) for row in rows]


def _due(
    connection: Connection, state: RequestState, now_ms: int, least_deadline_s: int, limit: int
) -> list[Row[*tuple[Any, ...]]]:
    """Up to `limit` requests in `state` that are due, the longest due first; nobody else moves them until we commit."""
    rows = connection.execute(
        select(requests.c.request_id, requests.c.state, requests.c.attempts, requests.c.consumer)
        .where(
            requests.c.state == state,
            requests.c.due_at_ms <= now_ms,
            requests.c.block_number.is_not(None),
            requests.c.deadline_s >= select(func.max(blocks.c.timestamp_s)).scalar_subquery(),
            requests.c.deadline_s >= least_deadline_s,
        )
        .order_by(requests.c.due_at_ms)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(rows)


_UNSERVED = or_(requests.c.state == RequestState.PENDING, requests.c.state == RequestState.FAILED)
_TO_EXECUTE = (  # nobody else moves them until we commit
    select(requests.c.request_id)
    .where(requests.c.request_id.in_(bindparam("ids", expanding=True)), _UNSERVED)
    .order_by(requests.c.request_id)
    .with_for_update()
)
_SET_EXECUTED = (
    update(requests)
    .where(requests.c.request_id == bindparam("id"), _UNSERVED)
    .values(
        state=RequestState.EXECUTED,
        executed_at_ms=bindparam("now_ms"),
        due_at_ms=bindparam("now_ms"),
        attempts=0,
        reason=None,
        held_until_ms=0,
        held_by=None,
    )
)
_SET_DUE = (
    update(requests)
    .where(requests.c.request_id == bindparam("id"), requests.c.state == bindparam("from"))
    .values(state=bindparam("to"), due_at_ms=bindparam("due"))
)


def _move(request_id: RequestId, to: RequestState, *expected: RequestState) -> Update:
    return update(requests).where(requests.c.request_id == request_id, requests.c.state.in_(expected)).values(state=to)


def _receipt_values(stored: StoredReceipt) -> dict[str, object]:
    receipt = stored.receipt
    return {
        "request_id": receipt.request_id,
        "outcome": int(receipt.outcome),
        "output": stored.output,
        "fuel_used": receipt.fuel_used,
        "payee": receipt.payee,
        "signer": stored.signer,
        "signature": stored.signature,
        "logs": stored.logs,
        "context": receipt.context,
        "transcript": stored.transcript,
    }


def stored_request(row: Row[Any]) -> StoredRequest:
    """The value of one row of `requests`."""
    request = Request(
        row.chain_id,
        Address(row.coprocessor),
        Address(row.consumer),
        ProgramId(row.program_id),
        PoolId(row.pool_id),
        row.input_hash,
        row.nonce,
        row.created_at_s,
        row.deadline_s,
        row.callback_gas,
        row.max_fee_gwei,
    )
    return StoredRequest(
        request=request,
        request_id=RequestId(row.request_id),
        state=RequestState(row.state),
        block_number=row.block_number,
        transaction_hash=row.transaction_hash,
        seen_at_ms=row.seen_at_ms,
        attempts=row.attempts,
        reason=row.reason,
        executed_at_ms=row.executed_at_ms,
        sent_at_ms=row.sent_at_ms,
        sent_account=row.sent_account,
        sent_nonce=row.sent_nonce,
        ended_block=row.ended_block,
        ended_hash=row.ended_hash,
        outcome=None if row.outcome is None else Outcome(row.outcome),
        payee=row.payee,
        fee_wei=None if row.fee_wei is None else int(row.fee_wei),
        callback_succeeded=row.callback_succeeded,
        finality=Finality(row.finality),
    )


def _stored_receipt(row: Row[Any]) -> StoredReceipt:
    ids = RequestId(row.request_id), Outcome(row.outcome), keccak256(row.output)
    receipt = Receipt(*ids, row.fuel_used, Address(row.payee), row.context)
    return StoredReceipt(receipt, row.output, Address(row.signer), row.signature, row.logs, row.transcript)
