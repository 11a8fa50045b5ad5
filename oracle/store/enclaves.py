"""The enclaves of this pool: their keys, their evidence, and how far their registration has come."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, case, func, select, update

from oracle.store.database import Database
from oracle.store.rows import EnclaveState, StoredEnclave
from oracle.store.schema import blocks, enclaves
from oracle.types.ids import Address, MeasurementId

_KEPT = ("signer", "live_until_s", "refusal", "refused_at_ms")  # by a new quote
MAX_REASON = 500  # characters kept
MAX_ENCLAVES = 100  # in one answer; one that starts anew is another
_UNDER_WAY = (EnclaveState.SUPPLYING, EnclaveState.ATTESTED, EnclaveState.SUBMITTED)
_NOW_S = func.coalesce(select(func.max(blocks.c.timestamp_s)).scalar_subquery(), 0)
_IS_LIVE = enclaves.c.live_until_s >= _NOW_S
_COUNTS = (enclaves.c.state.in_(_UNDER_WAY) & enclaves.c.refusal.is_(None)) | _IS_LIVE


def is_lost(gone_since_ms: int) -> ColumnElement[bool]:
    """
    Whether no receipt by an enclave, a row of `enclaves`, will ever be accepted: it does not count, or it has been
    waiting for collateral since before `gone_since_ms`, without the new quote that one which runs makes every minute.
    """
    waits = (enclaves.c.state == EnclaveState.SUPPLYING) & (enclaves.c.seen_at_ms <= gone_since_ms) & ~_IS_LIVE
    return ~_COUNTS | waits


class Enclaves:
    """The table `enclaves`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, signer: Address) -> StoredEnclave | None:
        """The enclave with this key."""
        with self._database.read() as connection:
            row = connection.execute(select(enclaves).where(enclaves.c.signer == signer)).first()
        return None if row is None else _stored(row)

    def newest(self, limit: int = MAX_ENCLAVES) -> list[StoredEnclave]:
        """Up to `limit` enclaves, those last seen first."""
        query = select(enclaves).order_by(enclaves.c.seen_at_ms.desc()).limit(limit)
        with self._database.read() as connection:
            return [_stored(row) for row in connection.execute(query)]

    def attested(self, limit: int = MAX_ENCLAVES) -> list[Address]:
        """Up to `limit` enclaves whose registration nobody has submitted yet, the longest waiting first."""
        waiting = select(enclaves.c.signer).where(enclaves.c.state == EnclaveState.ATTESTED)
        with self._database.read() as connection:
            rows = connection.execute(waiting.order_by(enclaves.c.seen_at_ms).limit(limit)).scalars()
            return [Address(signer) for signer in rows]

    def is_any_live(self, since_ms: int) -> bool:
        """Whether one is registered that was seen at `since_ms` or later."""
        query = select(enclaves.c.signer).where(
            enclaves.c.state == EnclaveState.LIVE, enclaves.c.seen_at_ms >= since_ms
        )
        with self._database.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def record_quote(self, enclave: StoredEnclave) -> None:
        """Any state -> SUPPLYING or ATTESTED with a new quote. An earlier registration goes on counting."""
        values = {name: getattr(enclave, name) for name in StoredEnclave.__dataclass_fields__}
        kept = {name: value for name, value in values.items() if name not in _KEPT}
        with self._database.write() as connection:
            connection.execute(
                self._database.insert(enclaves)
                .values(**values)
                .on_conflict_do_update(index_elements=["signer"], set_=kept)
            )

    def record_live(self, signer: Address, live_until_s: int, now_ms: int) -> bool:
        """Any state -> LIVE: the registry says that `signer` is live until then."""
        values = {"live_until_s": live_until_s, "seen_at_ms": now_ms, "refusal": None, "refused_at_ms": 0}
        return self._set(signer, EnclaveState.LIVE, **values)

    def record_dead(self, signer: Address, reason: str) -> bool:
        """The registry does not count it any more. LIVE -> DEAD; a registration under way goes on."""
        state = case((enclaves.c.state == EnclaveState.LIVE, EnclaveState.DEAD), else_=enclaves.c.state)
        return self._set(signer, state, live_until_s=0, refusal=reason[:MAX_REASON], refused_at_ms=0)

    def record_refusal(self, signer: Address, reason: str, now_ms: int) -> bool:
        """
        The registry refused a quote, or there was none to be had: LIVE if an earlier registration still counts, else
        DEAD.
        """
        state = case((enclaves.c.live_until_s > 0, EnclaveState.LIVE), else_=EnclaveState.DEAD)
        return self._set(signer, state, refusal=reason[:MAX_REASON], refused_at_ms=now_ms)

    def counts(self, signer: Address) -> bool:
        """
        Whether it is worth while to have `signer` sign: it is live by the clock of the last block read, or being
        registered and not refused so far. True if nothing is known of it.
        """
        with self._database.read() as connection:
            found = connection.execute(select(_COUNTS).where(enclaves.c.signer == signer)).scalar()
        return True if found is None else bool(found)

    def may_deliver(self, signer: Address) -> bool:
        """
        Whether the chain may accept now what `signer` signed: it is live, or its registration is sent. True if nothing
        is known of it.
        """
        is_sent = (enclaves.c.state == EnclaveState.SUBMITTED) & enclaves.c.refusal.is_(None)
        with self._database.read() as connection:
            found = connection.execute(select(is_sent | _IS_LIVE).where(enclaves.c.signer == signer)).scalar()
        return True if found is None else bool(found)

    def _set(self, signer: Address, state: EnclaveState | ColumnElement[str], **values: object) -> bool:
        with self._database.write() as connection:
            return bool(
                connection.execute(
                    update(enclaves).where(enclaves.c.signer == signer).values(state=state, **values)
                ).rowcount
            )


def _stored(row: Row[Any]) -> StoredEnclave:
    return StoredEnclave(
        signer=Address(row.signer),
        sealing_key=row.sealing_key,
        measurement=MeasurementId(row.measurement),
        operator=Address(row.operator),
        state=EnclaveState(row.state),
        quote=row.quote,
        anchor_block=row.anchor_block,
        live_until_s=row.live_until_s,
        seen_at_ms=row.seen_at_ms,
        evaluation_number=row.evaluation_number,
        refusal=row.refusal,
        refused_at_ms=row.refused_at_ms,
    )
