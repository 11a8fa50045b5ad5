"""A name that one process has at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from oracle.process import sole_name

PROGRAM = "import sys, pathlib; from oracle.process import sole_name; print(sole_name(pathlib.Path(sys.argv[1])))"


def ask(path: Path) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_sole_name_is_had_by_one_process_at_a_time_and_again_by_the_next(tmp_path: Path) -> None:
    """P11."""
    path = tmp_path / "relays" / "a"
    name = ask(path)
    assert len(name) == 32
    assert ask(path) == name  # the first has ended
    assert sole_name(path) == name
    assert ask(path) == "None"
    assert ask(tmp_path / "relays" / "b") not in (name, "None")
