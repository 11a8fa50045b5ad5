"""Packages that only measurements need, in an environment of their own under `build/`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_LOCK: Final = ROOT / "scripts" / "bench-requirements.lock"
_HOME: Final = ROOT / "build" / "bench-env"


def tools() -> Path:
    """The bin directory of that environment, made anew if its lock has changed."""
    stamp = _HOME / "lock"
    if not stamp.exists() or stamp.read_bytes() != _LOCK.read_bytes():
        uv = ROOT / "build" / "uv" / "bin" / "uv"  # where set-up put it
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, _HOME], check=True)
        install = ["pip", "install", "--quiet", "--require-hashes", "--requirement", str(_LOCK)]
        subprocess.run([uv, *install, "--python", _HOME / "bin" / "python"], check=True)
        stamp.write_bytes(_LOCK.read_bytes())
    return _HOME / "bin"
