"""The stack that the demo talks to: `adyton dev` as its own process, so that it can be left running."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from oracle.anvil import free_port
from oracle.cli.network import READY
from oracle.config import Settings, load
from oracle.devnet import SETTINGS_FILE
from oracle.errors import ConfigurationError
from oracle.process import die_with_parent

_READY_WITHIN_S = 90.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Stack:
    """A running development network."""

    process: subprocess.Popen[bytes]
    directory: Path
    log: Path

    @property
    def settings(self) -> Settings:
        """The settings of its pool."""
        return load(self.directory / SETTINGS_FILE, {})

    def stop(self) -> None:
        """End every process of the stack and wait."""
        self.process.terminate()
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(*, keep: bool) -> Stack:
    """
    Start the stack on a free port in a new directory and wait until requests will be served.

    With `keep` it outlives this process, otherwise it dies with it.

    Raises:
        ConfigurationError: it ended, or is not ready in time; the message carries its log.
    """
    directory = Path(tempfile.mkdtemp(prefix="adyton-demo-"))
    log = directory / "log"
    command = [sys.executable, "-m", "oracle", "dev", "--port", str(free_port()), "--dir", str(directory / "dev")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=keep,
            preexec_fn=None if keep else partial(die_with_parent, os.getpid()),  # noqa: PLW1509  # one system call
        )
    stack = Stack(process, directory / "dev", log)
    deadline = time.monotonic() + _READY_WITHIN_S
    while READY.strip() not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            stack.stop()
            raise ConfigurationError(f"the stack did not come up:\n{log.read_text()[-2_000:]}")
        time.sleep(_POLL_S)
    return stack
