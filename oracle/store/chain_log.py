"""
What the chain said: identity, cursor, and the events behind it. Written by the watcher alone.

New requests, ends of requests and the cursor that covers them are one transaction, so a crash costs a repeated read
and never a lost or doubled request. The cursor is a compare-and-set: of two watchers one wins each step and the other
re-reads. The start block and a tail of recent blocks are kept, so that a reorganisation of any depth has an ancestor
to go back to.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, case, delete, func, select, update

from oracle.errors import ChainMismatchError
from oracle.store.database import Database
from oracle.store.errors import CursorMovedError
from oracle.store.rows import Identity, RequestState
from oracle.store.schema import blocks, identity, inputs, requests
from oracle.types.block import BlockRef, Created, Event, Expired, Settled
from oracle.types.ids import Address, RequestId

TAIL_BLOCKS = 256


class ChainLog:
    """The tables `identity` and `blocks`, and what events do to `requests`."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
                    f"the database {self._database.name} belongs to coprocessor 0x{row.coprocessor.hex()} on "
                    f"chain {row.chain_id}, "
                    f"not 0x{wanted.coprocessor.hex()} on chain {wanted.chain_id}: use another data_dir or database_url"
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
        Store `events` and move the cursor from `expected` to `cursor`. Returns the requests that are new and still
        open.

        Raises:
            CursorMovedError: another watcher moved it first; nothing was written.
        """
        with self._database.write() as connection:
            self._require_cursor(connection, expected)
            new = [
                event.request.request_id
                for event in events
                if isinstance(event, Created) and self._create(connection, event, now_ms, due_at_ms)
            ]
            ended = {event.request_id for event in events if not isinstance(event, Created) and _end(connection, event)}
            connection.execute(self._database.insert(blocks).values(**_block_values(cursor)))
            start = select(identity.c.start_number).scalar_subquery()
            connection.execute(
                delete(blocks).where(blocks.c.number < cursor.number - TAIL_BLOCKS, blocks.c.number != start)
            )
        return [request_id for request_id in new if request_id not in ended]

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
                        else_=RequestState.PENDING,
                    ),
                    ended_block=None,
                    ended_hash=None,
                    outcome=None,
                    payee=None,
                    fee_wei=None,
                    callback_succeeded=None,
                )
            )

    def _create(self, connection: Connection, event: Created, now_ms: int, due_at_ms: int) -> bool:
        """Insert, or give an orphaned request its new block. True if somebody has to work on it now."""
        request = event.request
        known = connection.execute(
            select(requests.c.block_number, requests.c.state).where(requests.c.request_id == request.request_id)
        ).first()
        if known is not None:
            connection.execute(
                update(requests)
                .where(requests.c.request_id == request.request_id)
                .values(block_number=event.block_number, transaction_hash=event.transaction_hash, due_at_ms=due_at_ms)
            )
            return known.block_number is None and known.state == RequestState.PENDING
        values = {name: getattr(request, name) for name in _REQUEST_FIELDS}
        connection.execute(
            requests.insert().values(
                request_id=request.request_id,
                state=RequestState.PENDING,
                **values,
                block_number=event.block_number,
                transaction_hash=event.transaction_hash,
                seen_at_ms=now_ms,
                due_at_ms=due_at_ms,
                attempts=0,
            )
        )
        connection.execute(inputs.insert().values(request_id=request.request_id, input=event.input))
        return True

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
    return {"number": block.number, "hash": block.hash, "timestamp_s": block.timestamp_s}


def _end(connection: Connection, event: Settled | Expired) -> bool:
    """Any open state -> SETTLED or EXPIRED. False if the request is none of ours or has ended already."""
    values: dict[str, object] = {
        "state": RequestState.EXPIRED,
        "ended_block": event.block_number,
        "ended_hash": event.transaction_hash,
        "callback_succeeded": event.callback_succeeded,
    }
    if isinstance(event, Settled):
        values |= {
            "state": RequestState.SETTLED,
            "outcome": int(event.outcome),
            "payee": event.payee,
            "fee_wei": str(event.fee_wei),
        }
    moved = connection.execute(
        update(requests)
        .where(
            requests.c.request_id == event.request_id,
            requests.c.state.not_in((RequestState.SETTLED, RequestState.EXPIRED)),
        )
        .values(**values)
    )
    return bool(moved.rowcount)
