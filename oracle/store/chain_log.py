"""
What the chain said: identity, cursor, and the events behind it. Written by the watcher alone.

New requests, ends of requests and the cursor that covers them are one transaction, so a crash costs a repeated read
and never a lost or doubled request. The cursor is a compare-and-set: of two watchers one wins each step and the other
re-reads. A request for which more than the latest block was chosen waits, SEEN, until `release` finds it final enough;
the choice is kept in its row. The start block and a tail of recent blocks are kept, so that a reorganisation of any
depth has an ancestor to go back to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, case, delete, func, select, update

from oracle import metrics, tracing
from oracle.errors import ChainMismatchError
from oracle.store.consumers import MAX_PENDING_PER_CONSUMER, Room, announce
from oracle.store.database import Database
from oracle.store.errors import CursorMovedError
from oracle.store.finality import awaited, is_final, wait_anew
from oracle.store.rows import Identity, RequestState
from oracle.store.schema import blocks, identity, inputs, requests
from oracle.types.block import BlockRef, Created, Event, Expired, Settled
from oracle.types.finality import LATEST, Finality, FinalityPolicy, Heights
from oracle.types.ids import Address, RequestId, hex_of

_LOG = logging.getLogger(__name__)
TAIL_BLOCKS = 256
REFUSED = "its consumer has too many requests waiting already"
RELEASED = 2_000  # by one call
_PARAMETERS = 500  # of one query


class ChainLog:
    """The tables `identity` and `blocks`, and what events do to `requests`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.max_pending_per_consumer = MAX_PENDING_PER_CONSUMER
        self.finality = FinalityPolicy()

    def identity(self) -> Identity | None:
        """The chain and contract that this store belongs to, or None while it is new."""
        with self._database.read() as connection:
            row = connection.execute(select(identity)).one()
            if row.chain_id is None:
                return None
            start = connection.execute(select(blocks).where(blocks.c.number == row.start_number)).one()
        return Identity(row.chain_id, Address(row.coprocessor), BlockRef(start.number, start.hash, start.timestamp_s))

    def adopt(self, wanted: Identity) -> None:
        """
        Bind a new store to one chain, one coprocessor and its first block; the cursor starts there. Repeating it is a
        no-op.

        Raises:
            ChainMismatchError: the store belongs to something else.
        """
        with self._database.write() as connection:
            connection.execute(
                update(identity)
                .where(identity.c.chain_id.is_(None))
                .values(
                    chain_id=wanted.chain_id,
                    coprocessor=wanted.coprocessor,
                    start_number=wanted.start.number,
                    start_hash=wanted.start.hash,
                )
            )
            row = connection.execute(select(identity)).one()
            if (row.chain_id, row.coprocessor) != (wanted.chain_id, wanted.coprocessor):
                raise ChainMismatchError(
                    f"the database {self._database.name} belongs to coprocessor 0x{row.coprocessor.hex()} on chain "
                    f"{row.chain_id}, not 0x{wanted.coprocessor.hex()} on chain {wanted.chain_id}: use another "
                    "data_dir or database_url"
                )
            if (row.start_number, row.start_hash) != (wanted.start.number, wanted.start.hash):
                raise ChainMismatchError(
                    f"the database {self._database.name} began at block {row.start_number} "
                    f"0x{row.start_hash.hex()}, which is not in this chain's history "
                    "(was the development chain restarted?): move the data_dir away and deploy again"
                )
            connection.execute(
                self._database.insert(blocks).values(**_block_values(wanted.start)).on_conflict_do_nothing()
            )

    def cursor(self) -> BlockRef:
        """The last block whose events are stored. `adopt` must have been called."""
        return self.tail()[0]

    def tail(self) -> list[BlockRef]:
        """The blocks that the cursor stood on, newest first; the last one is the start block."""
        with self._database.read() as connection:
            rows = connection.execute(select(blocks).order_by(blocks.c.number.desc())).all()
        return [BlockRef(row.number, row.hash, row.timestamp_s) for row in rows]

    def advance(
        self, expected: BlockRef, cursor: BlockRef, events: Sequence[Event], now_ms: int, due_at_ms: int
    ) -> list[RequestId]:
        """
        Store `events` and move the cursor from `expected` to `cursor`. Returns the requests that are new and can be
        worked on: at once, by `finality`, and within their consumer's share. Those over it are stored as FAILED, which
        the sweeper tries again.

        Raises:
            CursorMovedError: another watcher moved it first; nothing was written.
        """
        started = time.monotonic()
        created = {event.request.request_id: event for event in events if isinstance(event, Created)}
        ends = [event for event in events if not isinstance(event, Created)]
        with self._database.write() as connection:
            self._require_cursor(connection, expected)
            new = self._create(connection, created, now_ms, due_at_ms)
            ended = _end(connection, ends)
            connection.execute(self._database.insert(blocks).values(**_block_values(cursor)))
            start = select(identity.c.start_number).scalar_subquery()
            connection.execute(
                delete(blocks).where(blocks.c.number < cursor.number - TAIL_BLOCKS, blocks.c.number != start)
            )
            announce(self._database, connection, (created[request_id].request.consumer for request_id in new))
        metrics.observe("advance_seconds", time.monotonic() - started)
        metrics.count("requests_read", len(created))
        _tell(new, ended, now_ms)
        return [request_id for request_id in new if request_id not in ended]

    def awaited(self) -> set[Finality]:
        """What the requests that are SEEN wait for."""
        with self._database.read() as connection:
            return awaited(connection)

    def release(self, expected: BlockRef, heights: Heights, due_at_ms: int) -> list[RequestId]:
        """
        SEEN -> PENDING for up to `RELEASED` requests that are as final as was chosen for them, the oldest first, or ->
        FAILED for those over their consumer's share, as `advance`.

        Raises:
            CursorMovedError: the cursor is not `expected`; nothing was written.
        """
        with self._database.write() as connection:
            self._require_cursor(connection, expected)
            query = select(requests.c.request_id, requests.c.consumer).where(is_final(heights))
            rows = connection.execute(query.order_by(requests.c.block_number, requests.c.nonce).limit(RELEASED)).all()
            if not rows:
                return []
            room = Room.of(connection, (row.consumer for row in rows), self.max_pending_per_consumer)
            moves = [
                {"id": row.request_id, "due": due_at_ms, **_admission(admitted=room.take(row.consumer), prefix="new_")}
                for row in rows
            ]
            connection.execute(_RELEASE, moves)
            admitted = {move["id"] for move in moves if move["new_state"] is RequestState.PENDING}
            announce(self._database, connection, {row.consumer for row in rows if row.request_id in admitted})
        _tell_refused(len(rows) - len(admitted))
        return [RequestId(row.request_id) for row in rows if row.request_id in admitted]

    def rewind(self, expected: BlockRef, ancestor: BlockRef) -> None:
        """
        Forget what the chain said after `ancestor`, a block of `tail()`.

        Requests made after it wait, without a block, until they are seen again; ends after it are undone, so that their
        receipts or transactions are tried again. Receipts, inputs and transactions stay.

        Raises:
            CursorMovedError: another watcher moved the cursor first; nothing was written.
        """
        with self._database.write() as connection:
            self._require_cursor(connection, expected)
            connection.execute(delete(blocks).where(blocks.c.number > ancestor.number))
            undone = select(requests.c.consumer).where(requests.c.ended_block > ancestor.number).distinct()
            who = connection.execute(undone).scalars().all()
            connection.execute(
                update(requests).where(requests.c.block_number > ancestor.number).values(block_number=None)
            )
            connection.execute(
                update(requests)
                .where(requests.c.ended_block > ancestor.number)
                .values(
                    state=case(
                        (requests.c.sent_nonce.is_not(None), RequestState.SUBMITTED),
                        (requests.c.executed_at_ms.is_not(None), RequestState.EXECUTED),
                        (requests.c.reason.is_not(None), RequestState.FAILED),
                        (requests.c.finality == LATEST.code, RequestState.PENDING),
                        else_=RequestState.SEEN,
                    ),
                    ended_block=None,
                    ended_hash=None,
                    outcome=None,
                    payee=None,
                    fee_wei=None,
                    callback_succeeded=None,
                )
            )
            announce(self._database, connection, who)

    def _create(
        self, connection: Connection, created: Mapping[RequestId, Created], now_ms: int, due_at_ms: int
    ) -> list[RequestId]:
        """Insert, and give orphaned requests their new block. Returns those that somebody has to work on now."""
        known = _states(connection, list(created))
        if known:
            connection.execute(
                _SEEN_AGAIN, [_place(request_id, created[request_id], due_at_ms) for request_id in known]
            )
            wait_anew(connection, (request_id for request_id, row in known.items() if row.block_number is None))
        fresh = {request_id: event for request_id, event in created.items() if request_id not in known}
        ready = self._insert(connection, fresh, now_ms, due_at_ms) if fresh else set()
        ready |= {
            request_id for request_id, row in known.items() if row[:3] == (RequestState.PENDING, None, LATEST.code)
        }
        return [request_id for request_id in created if request_id in ready]

    def _insert(
        self, connection: Connection, fresh: Mapping[RequestId, Created], now_ms: int, due_at_ms: int
    ) -> set[RequestId]:
        """Store them. Returns those to be served at once: that wait for nothing, within their consumer's share."""
        room = Room.of(connection, (event.request.consumer for event in fresh.values()), self.max_pending_per_consumer)
        rows = [_row(request_id, event, now_ms, due_at_ms, self.finality, room) for request_id, event in fresh.items()]
        connection.execute(requests.insert(), rows)
        connection.execute(
            inputs.insert(), [{"request_id": request_id, "input": event.input} for request_id, event in fresh.items()]
        )
        _tell_refused(sum(row["state"] is RequestState.FAILED for row in rows))
        return {request_id for request_id, row in zip(fresh, rows, strict=True) if row["state"] is RequestState.PENDING}

    @staticmethod
    def _require_cursor(connection: Connection, expected: BlockRef) -> None:
        connection.execute(select(identity.c.id).with_for_update()).scalar_one()  # one watcher at a time, from here on
        newest = connection.execute(select(func.max(blocks.c.number))).scalar_one()
        actual = connection.execute(select(blocks.c.hash).where(blocks.c.number == newest)).scalar_one()
        if (newest, actual) != (expected.number, expected.hash):
            raise CursorMovedError("the cursor", f"block {expected.number}", f"block {newest}")


_REQUEST_FIELDS = (
    "chain_id",
    "coprocessor",
    "consumer",
    "program_id",
    "pool_id",
    "input_hash",
    "nonce",
    "created_at_s",
    "deadline_s",
    "callback_gas",
    "max_fee_gwei",
)


def _block_values(block: BlockRef) -> dict[str, object]:
    return asdict(block)


def _admission(*, admitted: bool, prefix: str = "") -> dict[str, object]:
    """What a request becomes that may be worked on, or that is over its consumer's share."""
    state, reason = (RequestState.PENDING, None) if admitted else (RequestState.FAILED, REFUSED)
    return {f"{prefix}state": state, f"{prefix}reason": reason}


def _row(
    request_id: RequestId, event: Created, now_ms: int, due_at_ms: int, policy: FinalityPolicy, room: Room
) -> dict[str, object]:
    consumer = event.request.consumer
    finality = policy.of(consumer)
    state = (
        _admission(admitted=room.take(consumer)) if finality == LATEST else {"state": RequestState.SEEN, "reason": None}
    )
    return {
        "request_id": request_id,
        **state,
        "finality": finality.code,
        **{name: getattr(event.request, name) for name in _REQUEST_FIELDS},
        "block_number": event.block_number,
        "transaction_hash": event.transaction_hash,
        "seen_at_ms": now_ms,
        "due_at_ms": due_at_ms,
        "held_until_ms": 0,
        "attempts": 0,
    }


def _place(request_id: RequestId, event: Created, due_at_ms: int) -> dict[str, object]:
    return {"id": request_id, "number": event.block_number, "hash": event.transaction_hash, "due": due_at_ms}


_SEEN_AGAIN = (
    update(requests)
    .where(requests.c.request_id == bindparam("id"))
    .values(block_number=bindparam("number"), transaction_hash=bindparam("hash"), due_at_ms=bindparam("due"))
)
_RELEASE = (
    update(requests)
    .where(requests.c.request_id == bindparam("id"), requests.c.state == RequestState.SEEN)
    .values(state=bindparam("new_state"), reason=bindparam("new_reason"), due_at_ms=bindparam("due"))
)
_ENDED = (RequestState.SETTLED, RequestState.EXPIRED)
_SET_ENDED = (
    update(requests)
    .where(requests.c.request_id == bindparam("id"), *(requests.c.state != state for state in _ENDED))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in (
                "state",
                "ended_block",
                "ended_hash",
                "callback_succeeded",
                "outcome",
                "payee",
                "fee_wei",
            )
        }
    )
)


class _Known(NamedTuple):
    """Where a known request stands."""

    state: RequestState
    block_number: int | None
    finality: int
    sent_at_ms: int | None  # by us


def _states(connection: Connection, ids: Sequence[RequestId]) -> dict[RequestId, _Known]:
    """Those of these requests that are known."""
    wanted = (requests.c.state, requests.c.block_number, requests.c.finality, requests.c.sent_at_ms)
    found = {}
    for first in range(0, len(ids), _PARAMETERS):
        some = requests.c.request_id.in_(ids[first : first + _PARAMETERS])
        for request_id, state, *rest in connection.execute(select(requests.c.request_id, *wanted).where(some)):
            found[RequestId(request_id)] = _Known(RequestState(state), *rest)
    return found


def _end(connection: Connection, events: Sequence[Settled | Expired]) -> dict[RequestId, _Ended]:
    """Any open state -> SETTLED or EXPIRED, by the first event of each request. Returns what was ours and open."""
    known = _states(connection, [event.request_id for event in events])
    ended: dict[RequestId, _Ended] = {}
    for event in events:
        if event.request_id not in known or event.request_id in ended:
            continue
        stands = known[event.request_id]
        if stands.state not in _ENDED:
            ended[event.request_id] = _Ended(event, stands.sent_at_ms)
    if ended:
        connection.execute(_SET_ENDED, [_end_values(end.event) for end in ended.values()])
    return ended


def _end_values(event: Settled | Expired) -> dict[str, object]:
    is_settled = isinstance(event, Settled)
    return {
        "id": event.request_id,
        "new_state": RequestState.SETTLED if is_settled else RequestState.EXPIRED,
        "new_ended_block": event.block_number,
        "new_ended_hash": event.transaction_hash,
        "new_callback_succeeded": event.callback_succeeded,
        "new_outcome": int(event.outcome) if isinstance(event, Settled) else None,
        "new_payee": event.payee if isinstance(event, Settled) else None,
        "new_fee_wei": str(event.fee_wei) if isinstance(event, Settled) else None,
    }


@dataclass(frozen=True, slots=True)
class _Ended:
    event: Settled | Expired
    sent_at_ms: int | None  # by us


def _tell_refused(count: int) -> None:
    if count:
        metrics.count("requests_refused", count)
        _LOG.warning("%d requests are over their consumer's share and wait until there is room", count)


def _tell(new: Sequence[RequestId], ended: Mapping[RequestId, _Ended], now_ms: int) -> None:
    """Logs, metrics and traces of what was committed."""
    for request_id in new if tracing.is_on() else ():
        tracing.record("watch", request_id, now_ms, time.time_ns() // 1_000_000)
    for request_id, end in ended.items():
        about: dict[str, object] = {"request_id": hex_of(request_id), "block": end.event.block_number}
        if isinstance(end.event, Settled):
            outcome, ours = end.event.outcome.name.lower(), end.sent_at_ms is not None
            metrics.count("requests_ended", state="settled", outcome=outcome)
            metrics.count("fees_earned_wei", end.event.fee_wei, payee="ours" if ours else "other")
            _LOG.info("settled: %s", outcome, extra=about | {"fee_wei": end.event.fee_wei})
        else:
            metrics.count("requests_ended", state="expired", outcome="none")
            _LOG.info("expired", extra=about)
        if end.sent_at_ms is not None:
            tracing.record("settle", request_id, end.sent_at_ms, now_ms)
