"""Real servers for a test, on addresses of the test's choice. Skips where one is not installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from celery import Celery

from oracle.anvil import free_port
from oracle.broker import _server_binary
from tests.fakes import eventually

LOOPBACK, ANY = "127.0.0.1", "0.0.0.0"  # any address of a namespace that the test made
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
POSTGRESQL_PORT = 5432


def has_rabbitmq() -> bool:
    """Whether RabbitMQ is installed."""
    return _RABBITMQ.exists() and shutil.which("erl") is not None


@contextmanager
def postgresql(directory: Path, network: str | None = None) -> Iterator[str]:
    """
    The URL of a throw-away server on a Unix socket in `directory`, with `{name}` for the database's. Where `network` is
    given, hosts of these addresses may connect as well. It refuses to run as root, so it runs as nobody then.
    """
    initdb, server = shutil.which("initdb"), shutil.which("postgres")
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL here: `apt-get install postgresql` and put initdb and postgres on PATH")
    identity = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    user = {} if identity is None else {"user": identity.pw_uid, "group": identity.pw_gid, "extra_groups": []}
    if identity is not None:
        ours = [path for path in directory.parents if Path(tempfile.gettempdir()) in path.parents]
        for path in (directory, *ours):
            path.chmod(0o755)
        os.chown(directory, identity.pw_uid, identity.pw_gid)
    data, environment = directory / "data", {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    initialise = [initdb, "-D", str(data), "-U", "adyton", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initialise, check=True, capture_output=True, env=environment, cwd=directory, **user)  # type: ignore[call-overload]
    if network is not None:
        with (data / "pg_hba.conf").open("a") as access:
            access.write(f"host all adyton {network} trust\n")
    addresses = "" if network is None else "*"
    command = [server, "-D", str(data), "-k", str(directory), "-c", f"listen_addresses={addresses}", "-c", "fsync=off"]
    process = subprocess.Popen(command, env=environment, cwd=directory, stderr=subprocess.DEVNULL, **user)  # type: ignore[call-overload]
    try:
        engine = sqlalchemy.create_engine(f"postgresql+psycopg://adyton@/postgres?host={directory}")
        eventually(lambda: _accepts(engine), what="PostgreSQL is up")
        engine.dispose()
        yield f"postgresql://adyton@/{{name}}?host={directory}"
    finally:
        process.terminate()
        process.wait()


def _accepts(engine: sqlalchemy.Engine) -> bool:
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError:
        return False
    return True


def create_database(template: str, name: str) -> str:
    """The URL of a new database of that server."""
    url = template.format(name="postgres").replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return template.format(name=name)


@contextmanager
def valkey(directory: Path, address: str = LOOPBACK) -> Iterator[str]:
    """The URL of a Valkey, with `{host}` for an address of this machine."""
    port = free_port()
    command = [str(_server_binary()), "--port", str(port), "--bind", address, "--dir", str(directory), "--save", ""]
    process = subprocess.Popen([*command, "--protected-mode", "no"], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://{{host}}:{port}/0"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def rabbitmq(directory: Path, address: str = LOOPBACK) -> Iterator[str]:
    """The URL of a RabbitMQ, with `{host}` for an address of this machine."""
    if not has_rabbitmq():
        pytest.skip("no RabbitMQ here: `apt-get install rabbitmq-server`")
    port = free_port()
    (directory / "rabbitmq.conf").write_text("loopback_users = none\n")
    environment = os.environ | {
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_NODENAME": f"adyton{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": address,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(directory),
        "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",  # no busy waiting
    }
    process = subprocess.Popen(
        [str(_RABBITMQ)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield f"amqp://guest:guest@{{host}}:{port}//"
    finally:
        os.killpg(process.pid, 15)
        process.wait()
        subprocess.run(
            ["epmd", "-kill"], env=environment, check=False, capture_output=True
        )  # RabbitMQ leaves it behind


def await_broker(url: str) -> None:
    """Wait until it takes connections."""
    eventually(lambda: _answers(url), 60, "the broker answers")


def _answers(url: str) -> bool:
    try:
        with Celery(broker=url, set_as_current=False).connection_for_read() as connection:
            connection.connect()
    except Exception:  # noqa: BLE001  # whatever a broker that boots may do
        return False
    return True
