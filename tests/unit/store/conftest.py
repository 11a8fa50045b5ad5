"""Every store test runs on SQLite and, where its server binaries are, on a real PostgreSQL."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from oracle.store.rows import Identity
from oracle.store.store import Store
from oracle.types.block import BlockRef
from tests.fakes import a_request

START = BlockRef(10, b"\x10" * 32, 1_700_000_000)
_NAMES = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a throw-away server on a Unix socket. It refuses to run as root, so it runs as nobody then."""
    initdb, server = shutil.which("initdb"), shutil.which("postgres")
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL here: `apt-get install postgresql` and put initdb and postgres on PATH")
    directory = Path(tmp_path_factory.mktemp("pg", numbered=True))
    identity = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    user = {} if identity is None else {"user": identity.pw_uid, "group": identity.pw_gid, "extra_groups": []}
    if identity is not None:
        for path in (directory, *list(directory.parents)[:2]):
            path.chmod(0o755)
        os.chown(directory, identity.pw_uid, identity.pw_gid)
    data, environment = directory / "data", {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    initialise = [initdb, "-D", str(data), "-U", "adyton", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initialise, check=True, capture_output=True, env=environment, cwd=directory, **user)  # type: ignore[call-overload]
    command = [server, "-D", str(data), "-k", str(directory), "-c", "listen_addresses=", "-c", "fsync=off"]
    process = subprocess.Popen(command, env=environment, cwd=directory, stderr=subprocess.DEVNULL, **user)  # type: ignore[call-overload]
    try:
        _await_server(f"postgresql+psycopg://adyton@/postgres?host={directory}")
        yield f"postgresql://adyton@/{{name}}?host={directory}"
    finally:
        process.terminate()
        process.wait()


def _await_server(url: str) -> None:
    engine = sqlalchemy.create_engine(url)
    for _ in range(2_000):
        try:
            engine.connect().close()
        except sqlalchemy.exc.OperationalError:
            continue
        engine.dispose()
        return
    raise AssertionError("PostgreSQL did not come up")


def new_database(backend: str, request: pytest.FixtureRequest, directory: Path) -> str:
    """The URL of an empty database."""
    if backend == "sqlite":
        return f"sqlite:///{directory}/pool{next(_NAMES)}.sqlite"
    template: str = request.getfixturevalue("postgres")
    name = f"pool{next(_NAMES)}"
    url = template.format(name="postgres").replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return template.format(name=name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_database(request.param, request, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url, create=True) as opened:
        opened.chain.adopt(Identity(31337, a_request().coprocessor, START))
        yield opened
