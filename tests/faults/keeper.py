"""
Keeps commands running, as an init system would, and knows every process under them, so that any can be killed.

They die with us, and write what they say into one file each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from oracle.parts import EXIT_CONFIGURATION

_POLL_S = 0.02
_STOP_WITHIN_S = 15.0
_LEASH = (
    "import os, sys; from oracle.process import die_with_parent; die_with_parent(int(sys.argv[1])); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


@dataclass(frozen=True, slots=True)
class Command:
    """What Python is given to run, and its environment."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


class Keeper:
    """Starts the commands in their order, and again whenever one ends. A context manager."""

    def __init__(self, commands: Mapping[str, Command], log_dir: Path) -> None:
        self._commands = dict(commands)
        self._log_dir = log_dir
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper")  # children die with the thread that began them
        self.refusals: list[str] = []  # who said that trying again cannot help
        self.deaths = 0

    def __enter__(self) -> Self:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def victims(self) -> dict[str, int]:
        """Every process by what it is, `command` or `command/part`."""
        found = {name: process.pid for name, process in list(self._processes.items()) if process.poll() is None}
        children = _children()
        for name, pid in list(found.items()):
            for child in _below(pid, children):
                part = _part(child)
                if part is not None:
                    found[f"{name}/{part}"] = child
        return found

    def kill(self, name: str) -> bool:
        """-9. False if it is not there: it may have died by itself, or not be up again."""
        pid = self.victims().get(name)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for name in self._commands:
                    process = self._processes.get(name)
                    if process is None or process.poll() is not None:
                        self._note(name, process)
                        self._processes[name] = self._start(name)
                self._stop.wait(_POLL_S)
        finally:
            self._end()

    def _note(self, name: str, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            self.deaths += 1
            if process.returncode == EXIT_CONFIGURATION:
                self.refusals.append(name)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = self._commands[name]
        with (self._log_dir / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-c", _LEASH, str(os.getpid()), *command.arguments],
                env=dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _end(self) -> None:
        """The last first: the broker goes when nobody needs it."""
        for process in reversed(list(self._processes.values())):
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _children() -> dict[int, list[int]]:
    """Processes by parent."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                if state not in ("Z", "X"):
                    found.setdefault(int(parent), []).append(int(entry.name))
    return found


def _below(pid: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    for child in children.get(pid, ()):
        yield child
        yield from _below(child, children)


def _part(pid: int) -> str | None:
    """Which part of a pool it is, by its command line."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return None
    if "oracle.parts" in words:
        return "-".join(words[words.index("oracle.parts") + 2 :]).rstrip("-")
    if "oracle.enclave.main" in words:
        return "enclave"
    return "broker" if "valkey" in words[0] else None
