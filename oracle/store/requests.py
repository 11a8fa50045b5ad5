"""
The life of a request off-chain: named transitions, each a compare-and-set on the state.

A transition that finds another state than it expects changes nothing and returns False: somebody else was faster, and
every step may be repeated without harm. What the chain says (settled, expired, reorganised) is written by
`oracle.store.chain_log`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, Update, and_, func, select, update

from oracle.crypto.hashing import keccak256
from oracle.store.database import Database
from oracle.store.rows import RequestState, StoredReceipt, StoredRequest, TransactionState
from oracle.store.schema import blocks, inputs, receipts, requests, transactions
from oracle.types.ids import Address, PoolId, ProgramId, RequestId
from oracle.types.receipt import Outcome, Receipt
from oracle.types.request import Request

_MAX_BACKOFF_MS = 60_000
_OPEN = (RequestState.PENDING, RequestState.EXECUTED, RequestState.SUBMITTED, RequestState.FAILED)


class Requests:
    """The tables `requests`, `inputs` and `receipts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

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

    def record_receipt(self, stored: StoredReceipt, now_ms: int) -> bool:
        """PENDING or FAILED -> EXECUTED, with the receipt. The first receipt stays: a later one is dropped."""
        receipt = stored.receipt
        with self._database.write() as connection:
            moved = connection.execute(
                _move(receipt.request_id, RequestState.EXECUTED, RequestState.PENDING, RequestState.FAILED).values(
                    executed_at_ms=now_ms, due_at_ms=now_ms, attempts=0, reason=None
                )
            ).rowcount
            if moved:
                connection.execute(
                    self._database.insert(receipts)
                    .values(
                        request_id=receipt.request_id,
                        outcome=int(receipt.outcome),
                        output=stored.output,
                        fuel_used=receipt.fuel_used,
                        payee=receipt.payee,
                        signer=stored.signer,
                        signature=stored.signature,
                        logs=stored.logs,
                    )
                    .on_conflict_do_nothing()
                )
        return bool(moved)

    def fail(self, request_id: RequestId, reason: str) -> bool:
        """
        PENDING -> FAILED: no receipt can be made as things are. The sweeper tries again, ever more rarely, until the
        deadline.
        """
        with self._database.write() as connection:
            return bool(
                connection.execute(
                    _move(request_id, RequestState.FAILED, RequestState.PENDING).values(
                        reason=reason[:1_000], attempts=requests.c.attempts + 1
                    )
                ).rowcount
            )

    def note(self, request_id: RequestId, reason: str) -> None:
        """Keep why an attempt did not succeed; the state stays."""
        with self._database.write() as connection:
            connection.execute(
                update(requests)
                .where(requests.c.request_id == request_id)
                .values(reason=reason[:1_000], attempts=requests.c.attempts + 1)
            )

    def take_due(self, now_ms: int, wait_ms: int, limit: int) -> dict[RequestId, RequestState]:
        """
        Up to `limit` requests that nobody moved for too long, PENDING or EXECUTED; FAILED ones become PENDING again.

        Each is due again after `wait_ms`, doubled with every failed attempt up to a minute, so a repeated sweep does
        not flood the queue. Requests past their deadline by the chain's clock are left to `expirable`.
        """
        with self._database.write() as connection:
            rows = connection.execute(
                select(requests.c.request_id, requests.c.state, requests.c.attempts)
                .where(
                    requests.c.state.in_((RequestState.PENDING, RequestState.EXECUTED, RequestState.FAILED)),
                    requests.c.due_at_ms <= now_ms,
                    requests.c.block_number.is_not(None),
                    requests.c.deadline_s >= select(func.max(blocks.c.timestamp_s)).scalar_subquery(),
                )
                .order_by(requests.c.due_at_ms)
                .limit(limit)
            ).all()
            taken = {}
            for request_id, state, attempts in rows:
                wanted = RequestState.PENDING if state == RequestState.FAILED else RequestState(state)
                due_at_ms = now_ms + min(_MAX_BACKOFF_MS, wait_ms << min(attempts, 16))
                moved = connection.execute(
                    _move(request_id, wanted, RequestState(state))
                    .where(requests.c.due_at_ms <= now_ms)
                    .values(due_at_ms=due_at_ms)
                ).rowcount
                if moved:
                    taken[RequestId(request_id)] = wanted
        return taken

    def release_skipped(self) -> list[RequestId]:
        """
        SUBMITTED -> EXECUTED for requests whose transaction is mined, whose block the watcher has read, and which are
        open nevertheless: the batch skipped them.
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
            )
            ids = [RequestId(row.request_id) for row in rows]
            for request_id in ids:
                connection.execute(
                    _move(request_id, RequestState.EXECUTED, RequestState.SUBMITTED).values(
                        sent_account=None, sent_nonce=None, sent_at_ms=None, attempts=requests.c.attempts + 1
                    )
                )
        return ids

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


def _move(request_id: RequestId, to: RequestState, *expected: RequestState) -> Update:
    return update(requests).where(requests.c.request_id == request_id, requests.c.state.in_(expected)).values(state=to)


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
    )


def _stored_receipt(row: Row[Any]) -> StoredReceipt:
    receipt = Receipt(
        RequestId(row.request_id), Outcome(row.outcome), keccak256(row.output), row.fuel_used, Address(row.payee)
    )
    return StoredReceipt(receipt, row.output, Address(row.signer), row.signature, row.logs)
