"""A PostgreSQL server of our own, that can be killed and started again. It keeps what it committed."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy

from oracle.process import die_with_parent
from tests.fakes import eventually
from tests.faults.world import World

_DEBIAN = "/usr/lib/postgresql"


class PostgreSQL:
    """Listens on a Unix socket in its directory. It refuses to run as root, so it runs as nobody then."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = {"PATH": path_with_postgres(), "LC_ALL": "C"}
        identity = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        directory.mkdir(parents=True)
        self._user: dict[str, Any] = {}
        if identity is not None:
            os.chown(directory, identity.pw_uid, identity.pw_gid)
            directory.parent.chmod(0o755)
            self._user = {"user": identity.pw_uid, "group": identity.pw_gid, "extra_groups": []}
        self._run("initdb", "-U", "adyton", "-A", "trust", "-E", "UTF8", "--no-sync")
        self._process = self._start()

    @property
    def url(self) -> str:
        return f"postgresql://adyton@/postgres?host={self._directory}"

    @classmethod
    @contextmanager
    def maybe(cls, directory: Path, *, wanted: bool) -> Iterator[PostgreSQL | None]:
        """A server, if it is `wanted`."""
        if not wanted:
            yield None
            return
        server = cls(directory)
        try:
            yield server
        finally:
            server.kill()

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("initdb", path=path_with_postgres()) is not None

    def kill(self) -> None:
        """-9 to the server; its children notice and end."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def restart(self, _world: World, chance: random.Random) -> str:
        """A trouble: the server dies, or ends every connection, and is started again."""
        how = chance.choice((signal.SIGKILL, signal.SIGQUIT, signal.SIGINT))  # crash, immediate, fast
        self._process.send_signal(how)
        self._process.wait()
        self._process = self._start()
        return f"restarted the database after {how.name}"

    def _start(self) -> subprocess.Popen[bytes]:
        """May have to wait for the children of one that was killed: they hold its shared memory."""
        return eventually(self._started, 30, "PostgreSQL is up")

    def _started(self) -> subprocess.Popen[bytes] | None:
        command = [
            "postgres",
            "-D",
            self._data,
            "-k",
            str(self._directory),
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]
        executable = shutil.which(command[0], path=self._environment["PATH"])
        assert executable is not None
        process = subprocess.Popen(
            [executable, *command[1:]],
            env=self._environment,
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  # one system call, no locks taken
            **self._user,
        )
        eventually(lambda: process.poll() is not None or self._answers(), 20, "PostgreSQL answers or ends")
        return process if process.poll() is None else None

    def _answers(self) -> bool:
        engine = sqlalchemy.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        try:
            engine.connect().close()
        except sqlalchemy.exc.OperationalError:
            return False
        finally:
            engine.dispose()
        return True

    @property
    def _data(self) -> str:
        return str(self._directory / "data")

    def _run(self, name: str, *arguments: str) -> None:
        executable = shutil.which(name, path=self._environment["PATH"])
        assert executable is not None, "no PostgreSQL here: `apt-get install postgresql`"
        subprocess.run(
            [executable, "-D", self._data, *arguments],
            check=True,
            capture_output=True,
            env=self._environment,
            cwd=self._directory,
            **self._user,
        )


def path_with_postgres() -> str:
    """PATH, and where Debian keeps the server's programs."""
    found = sorted(Path(_DEBIAN).glob("*/bin"), reverse=True) if Path(_DEBIAN).is_dir() else []
    return os.pathsep.join([os.environ.get("PATH", ""), *map(str, found)])
