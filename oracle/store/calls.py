"""Calls that somebody should send, by the hash of what they are: made by one process, sent by another."""

from __future__ import annotations

from sqlalchemy import delete, select, update

from oracle.crypto.hashing import keccak256
from oracle.store.database import Database
from oracle.store.schema import calls
from oracle.types.ids import Address

Call = tuple[Address, bytes]  # whom, with which calldata


class Calls:
    """The table `calls`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, to: Address, data: bytes, now_ms: int) -> bytes:
        """Keep a call, once; its id."""
        call_id = keccak256(to + data)
        values = {"call_id": call_id, "to": to, "data": data, "made_at_ms": now_ms}
        with self._database.write() as connection:
            connection.execute(self._database.insert(calls).values(**values).on_conflict_do_nothing())
        return call_id

    def get(self, call_id: bytes) -> Call | None:
        """The call with this id, if it is still wanted and was not refused."""
        wanted = select(calls.c.to, calls.c.data).where(calls.c.call_id == call_id, calls.c.refusal.is_(None))
        with self._database.read() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else (Address(row.to), row.data)

    def refuse(self, call_id: bytes, reason: str) -> None:
        """The contract refuses it: nobody sends it until it is forgotten and made again."""
        with self._database.write() as connection:
            connection.execute(update(calls).where(calls.c.call_id == call_id).values(refusal=reason))

    def refusal(self, call_id: bytes) -> str | None:
        """Why the contract refuses it, if it does."""
        with self._database.read() as connection:
            return connection.execute(select(calls.c.refusal).where(calls.c.call_id == call_id)).scalar()

    def drop(self, call_id: bytes) -> None:
        """Nobody need send it any more."""
        with self._database.write() as connection:
            connection.execute(delete(calls).where(calls.c.call_id == call_id))

    def drop_older(self, than_ms: int) -> None:
        """Forget what nobody sent: if it is still wanted it will be made again."""
        with self._database.write() as connection:
            connection.execute(delete(calls).where(calls.c.made_at_ms < than_ms))
