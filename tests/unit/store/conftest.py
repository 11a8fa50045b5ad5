"""Every store test runs on SQLite and, where its server binaries are, on a real PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle.store.rows import Identity
from oracle.store.store import Store
from oracle.types.block import BlockRef
from tests.fakes import a_request
from tests.servers import create_database, postgresql

START = BlockRef(10, b"\x10" * 32, 1_700_000_000)
_NAMES = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a throw-away server on a Unix socket, with `{name}` for the database's."""
    with postgresql(Path(tmp_path_factory.mktemp("pg", numbered=True))) as url:
        yield url


def new_database(backend: str, request: pytest.FixtureRequest, directory: Path) -> str:
    """The URL of an empty database."""
    if backend == "sqlite":
        return f"sqlite:///{directory}/pool{next(_NAMES)}.sqlite"
    return create_database(request.getfixturevalue("postgres"), f"pool{next(_NAMES)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_database(request.param, request, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url, create=True) as opened:
        opened.chain.adopt(Identity(31337, a_request().coprocessor, START))
        yield opened
