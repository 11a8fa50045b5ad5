"""
What ties a process to its surroundings: a parent, so that kill -9 of the supervisor leaves no orphans (Linux only), and
a name that it alone has.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import IO

_names: list[IO[str]] = []  # open for as long as we live

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """
    Be killed when the thread that started us ends, from now on and across exec.

    Exits at once if `parent` is gone already. The parent must start us from its main thread.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(1)


def sole_name(path: Path) -> str | None:
    """
    A random name kept in the file `path`: the same for every process that ever asks, but for one at a time. None if
    another process has it; the kernel takes it back when that one ends, however that happens.

    Raises:
        OSError: the file cannot be made, read or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    _names.append(file)
    file.seek(0)
    name = file.read()
    if not name:
        name = secrets.token_hex(16)
        file.write(name)
        file.flush()
    return name
