"""The enclaves of this pool: their keys, their evidence, and how far their registration has come."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select, update

from oracle.store.database import Database
from oracle.store.rows import EnclaveState, StoredEnclave
from oracle.store.schema import enclaves
from oracle.types.ids import Address, MeasurementId


class Enclaves:
    """The table `enclaves`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, signer: Address) -> StoredEnclave | None:
        """The enclave with this key."""
        with self._database.read() as connection:
            row = connection.execute(select(enclaves).where(enclaves.c.signer == signer)).first()
        return None if row is None else _stored(row)

    def all(self) -> list[StoredEnclave]:
        """Every enclave ever seen, the newest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(enclaves).order_by(enclaves.c.seen_at_ms.desc())).all()
        return [_stored(row) for row in rows]

    def record_quote(self, enclave: StoredEnclave) -> None:
        """Any state -> ATTESTED with a fresh quote; a live enclave stays live until its old registration ends."""
        values = {name: getattr(enclave, name) for name in StoredEnclave.__dataclass_fields__} | {
            "state": EnclaveState.ATTESTED
        }
        kept = {name: value for name, value in values.items() if name not in ("signer", "live_until_s")}
        with self._database.write() as connection:
            connection.execute(
                self._database.insert(enclaves)
                .values(**values)
                .on_conflict_do_update(index_elements=["signer"], set_=kept)
            )

    def record_live(self, signer: Address, live_until_s: int, now_ms: int) -> bool:
        """Any state -> LIVE: the registry says that `signer` is live until then."""
        return self._set(signer, EnclaveState.LIVE, live_until_s=live_until_s, seen_at_ms=now_ms)

    def record_dead(self, signer: Address) -> bool:
        """Any state -> DEAD: the registry refuses it."""
        return self._set(signer, EnclaveState.DEAD, live_until_s=0)

    def _set(self, signer: Address, state: EnclaveState, **values: object) -> bool:
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
    )
