"""
Open a database and run transactions on it.

SQLite by default: WAL, foreign keys, a busy timeout, and `BEGIN IMMEDIATE` for writers, so that a read never turns
into a lost write lock half way. `synchronous=NORMAL` survives kill -9 of any process; a power cut may cost the last
commits, all of which the chain can tell again. PostgreSQL by URL, through psycopg 3; neither we nor the server wait for
the other side of a cut link. Errors of either become those of `oracle.store.errors`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.schema import Table

from oracle.errors import ConfigurationError
from oracle.store.errors import RowTakenError, StoreLockedError, StoreMissingError, StoreUnreachableError

BUSY_TIMEOUT_S = 10.0
_WRITE = "adyton_write"
_GONE_AFTER_MS = 10_000  # a host whose link was cut: for how long to wait for what it should have confirmed
_KEEPALIVES = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}  # seconds


class Database:
    """A pool of connections. `read` sees one snapshot, `write` is all or nothing."""

    def __init__(self, url: str, *, create: bool, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """
        Connect lazily to `url`; `create` allows a SQLite file that does not exist yet.

        Raises:
            ConfigurationError: not a URL of SQLite or PostgreSQL.
            StoreMissingError: the SQLite file does not exist and may not be created.
            StoreUnreachableError: its directory cannot be made.
        """
        parsed = _parse(url)
        self.name = parsed.render_as_string(hide_password=True)
        self._path = _sqlite_path(parsed)
        if self._path is not None:
            _prepare_file(self._path, create=create)
        self.engine = _engine(parsed, busy_timeout_s)
        self._inode: int | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its first statement; an exception rolls it back."""
        with (
            self._translated(),
            self.engine.connect().execution_options(**{_WRITE: True}) as connection,
            connection.begin(),
        ):
            yield connection

    def insert(self, table: Table) -> Any:
        """An INSERT of this dialect, with `on_conflict_do_update` and `on_conflict_do_nothing`."""
        return (sqlite.insert if self._path is not None else postgresql.insert)(table)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        self._require_same_file()
        try:
            yield
        except exc.OperationalError as error:
            reason = str(error.orig).strip().splitlines()[0]
            if "locked" in reason or "lock timeout" in reason:
                raise StoreLockedError(f"the database {self.name} is locked by another process: {reason}") from error
            raise StoreUnreachableError(f"the database {self.name} cannot be used: {reason}") from error
        except exc.IntegrityError as error:
            raise RowTakenError("a row", "absent", "there") from error
        except (exc.InterfaceError, exc.InternalError) as error:
            raise StoreUnreachableError(f"the database {self.name} cannot be used: {error.orig}") from error

    def _require_same_file(self) -> None:
        """SQLite goes on writing into a deleted file; we do not."""
        if self._path is None:
            return
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError as error:
            if self._inode is None:
                return  # not created yet
            raise StoreMissingError(
                f"the database file {self._path} was removed while in use: restart to begin a new one"
            ) from error
        if self._inode not in (None, inode):
            raise StoreMissingError(
                f"the database file {self._path} was replaced while in use: restart to read the new one"
            )
        self._inode = inode


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise ConfigurationError(
            f"database_url {url!r} is not a database URL such as sqlite:////path or postgresql://host/name"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    raise ConfigurationError(f"database_url must name a SQLite file or a PostgreSQL database, not {url!r}")


def _sqlite_path(url: URL) -> Path | None:
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _prepare_file(path: Path, *, create: bool) -> None:
    if path.exists():
        if not os.access(path, os.R_OK | os.W_OK):
            raise StoreUnreachableError(
                f"the database file {path} cannot be read and written: check its owner and mode"
            )
        return
    if not create:
        raise StoreMissingError(f"there is no database {path}: start the watcher (or `adyton up`), which creates it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnreachableError(f"cannot make the directory of the database {path}: {error}") from error


def _options(busy_timeout_s: float) -> str:
    """
    What the server shall do in a session of ours. A host that is lost in the middle of a transaction must not keep its
    locks for hours: the server ends that session before those who wait for the locks give up.
    """
    values = {
        "lock_timeout": int(busy_timeout_s * 1_000),
        "idle_in_transaction_session_timeout": int(busy_timeout_s * 500),
        "tcp_user_timeout": _GONE_AFTER_MS,
        **{f"tcp_{name}": seconds for name, seconds in _KEEPALIVES.items()},
    }
    return " ".join(f"-c {name}={value}" for name, value in values.items())


def _engine(url: URL, busy_timeout_s: float) -> Engine:
    if url.get_backend_name() == "postgresql":
        return create_engine(
            url,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": 10,
                "client_encoding": "utf8",
                "tcp_user_timeout": _GONE_AFTER_MS,
                **_KEEPALIVES,
                "options": _options(busy_timeout_s),
            },
        )
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s})

    @event.listens_for(engine, "connect")
    def _configure(connection: SQLiteConnection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITE) else "BEGIN")

    return engine
