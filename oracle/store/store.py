"""
The store: owners of tables over one database.

`chain` is written by the watcher, `requests` by jobs, `journal` and `outbox` by submitters, `enclaves` and `calls` by
registration.
Opening checks that the schema is ours and of this version; nothing is migrated silently.
"""

from __future__ import annotations

from typing import Self

from sqlalchemy import exc, inspect, select

from oracle.store.calls import Calls
from oracle.store.chain_log import ChainLog
from oracle.store.database import BUSY_TIMEOUT_S, Database
from oracle.store.enclaves import Enclaves
from oracle.store.errors import SchemaMismatchError, StoreMissingError, StoreUnreachableError
from oracle.store.journal import Journal
from oracle.store.outbox import Outbox
from oracle.store.requests import Requests
from oracle.store.schema import SCHEMA_VERSION, identity, metadata
from oracle.store.statistics import Statistics
from oracle.store.turns import Turns


class Store:
    """Open it with `open`; close it with `close`, or use it in a `with`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.chain = ChainLog(database)
        self.requests = Requests(database)
        self.turns = Turns(database)
        self.statistics = Statistics(database)
        self.journal = Journal(database)
        self.outbox = Outbox(database)
        self.enclaves = Enclaves(database)
        self.calls = Calls(database)

    @classmethod
    def open(cls, url: str, *, create: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """
        Open the database at `url`; with `create`, make the file and the tables if there are none.

        Raises:
            ConfigurationError: not a URL of SQLite or PostgreSQL.
            StoreMissingError: no such file, or no tables, and `create` is off.
            StoreUnreachableError, StoreLockedError: it cannot be opened, reached or written now.
            SchemaMismatchError: a database of another version, or of somebody else.
        """
        database = Database(url, create=create, busy_timeout_s=busy_timeout_s)
        try:
            _prepare(database, create=create)
        except exc.DatabaseError as error:
            database.close()
            raise SchemaMismatchError(f"{database.name} is not a database of Adyton: {error.orig}") from error
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _prepare(database: Database, *, create: bool) -> None:
    with database.write() as connection:
        names = set(inspect(connection).get_table_names())
        if not names & metadata.tables.keys():
            if not create:
                raise StoreMissingError(
                    f"the database {database.name} is empty: start the watcher (or `adyton up`), which sets it up"
                )
            if names:
                raise SchemaMismatchError(
                    f"{database.name} holds tables of something else: {', '.join(sorted(names)[:5])}"
                )
            metadata.create_all(connection)
            connection.execute(identity.insert().values(id=1, schema_version=SCHEMA_VERSION))
        missing = metadata.tables.keys() - set(inspect(connection).get_table_names())
        if missing:
            raise SchemaMismatchError(
                f"{database.name} has no table {min(missing)}: it is of another version of Adyton"
            )
        version = connection.execute(select(identity.c.schema_version)).scalar()
        if version != SCHEMA_VERSION:
            raise SchemaMismatchError(
                f"{database.name} has schema version {version}, not {SCHEMA_VERSION}: use the Adyton that made "
                "it, or a new data_dir"
            )


__all__ = ["Store", "StoreMissingError", "StoreUnreachableError"]
