"""A database that is missing, locked, foreign or of another version says so."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from oracle.errors import ConfigurationError, RetryableError, StoreError
from oracle.store.errors import (
    SchemaMismatchError,
    StoreLockedError,
    StoreMissingError,
    StoreUnreachableError,
)
from oracle.store.rows import Identity
from oracle.store.store import Store
from tests.fakes import a_request
from tests.unit.store.conftest import START, new_database

TOUCH = "UPDATE identity SET schema_version = schema_version"


def test_open_missing_file_without_create_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="start the watcher"):
        Store.open(f"sqlite:///{tmp_path}/none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()


def test_open_twice_finds_the_same_content(url: str) -> None:
    with Store.open(url, create=True) as store:
        store.chain.adopt(Identity(1, a_request().coprocessor, START))
    with Store.open(url) as store:
        assert store.chain.cursor() == START


def test_open_empty_database_without_create_is_refused(url: str) -> None:
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).touch()
    with pytest.raises(StoreMissingError, match="is empty"):
        Store.open(url)


def test_open_other_schema_version_is_refused(url: str) -> None:
    with Store.open(url, create=True) as store, store.database.write() as connection:
        connection.exec_driver_sql("UPDATE identity SET schema_version = 99")
    with pytest.raises(SchemaMismatchError, match="99"):
        Store.open(url)


def test_open_database_of_something_else_is_refused(url: str) -> None:
    with Store.open(url, create=True) as store, store.database.write() as connection:
        for table in ("versions", "receipts"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    with pytest.raises(SchemaMismatchError, match="receipts"):
        Store.open(url)


def test_open_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.sqlite"
    path.write_bytes(b"this is not a database, but it is long enough to be read as a header" * 20)
    with pytest.raises(StoreError):
        Store.open(f"sqlite:///{path}", create=True)


def test_open_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnreachableError):
        Store.open(f"sqlite:///{tmp_path}/file/pool.sqlite", create=True)


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_open_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="database"):
        Store.open(url, create=True)


def test_open_postgresql_that_is_away_is_retryable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachableError) as raised:
        Store.open(f"postgresql://adyton@/pool?host={tmp_path}")
    assert isinstance(raised.value, RetryableError)


def test_write_while_locked_is_a_retryable_error(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with Store.open(f"sqlite:///{path}", create=True, busy_timeout_s=0.05) as store:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLockedError) as raised:
            store.chain.adopt(Identity(1, a_request().coprocessor, START))
        assert isinstance(raised.value, RetryableError)
        other.rollback()
        other.close()
        store.chain.adopt(Identity(1, a_request().coprocessor, START))


def test_write_after_the_file_was_removed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with Store.open(f"sqlite:///{path}", create=True) as store:
        store.chain.identity()
        path.unlink()
        with pytest.raises(StoreMissingError, match="removed"):
            store.chain.identity()


def write_past_silence(lost: Store, other: Store) -> None:
    """One holds a lock and says nothing, the other wants it, then the first goes on."""
    with lost.database.write() as silent:
        silent.exec_driver_sql(TOUCH)
        with other.database.write() as connection:
            connection.exec_driver_sql(TOUCH)
        silent.exec_driver_sql(TOUCH)


def test_write_of_a_host_that_is_lost_in_it_ends_and_others_go_on(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """P4: nobody will ever tell the server that it is gone."""
    url = new_database("postgresql", request, tmp_path)
    with Store.open(url, create=True, busy_timeout_s=0.5) as lost, Store.open(url) as other:
        with pytest.raises(StoreUnreachableError):
            write_past_silence(lost, other)
        assert lost.chain.identity() is None
