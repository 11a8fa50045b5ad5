"""One development network for all tests of a run, and the `adyton` command as a user would call it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo import stack as demo_stack
from oracle.devnet import SETTINGS_FILE

ROOT = Path(__file__).parents[2]
Adyton = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def stack() -> Iterator[demo_stack.Stack]:
    running = demo_stack.start(keep=False)
    yield running
    running.stop()
    shutil.rmtree(running.directory.parent)


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m oracle` with these arguments; nothing of our own environment's settings is passed on."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ADYTON_")}
    return subprocess.run(
        [sys.executable, "-m", "oracle", *arguments],
        check=False,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def adyton(stack: demo_stack.Stack) -> Adyton:
    """The command, set up for the network."""
    return lambda *arguments: run(*arguments, ADYTON_CONFIG=str(stack.directory / SETTINGS_FILE))


@pytest.fixture
def bare_adyton(tmp_path: Path) -> Adyton:
    """The command, set up for nothing."""
    return lambda *arguments, **environment: run(*arguments, cwd=tmp_path, **environment)


def code_block(language: str) -> str:
    """The first block of `language` in README."""
    found = re.search(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]
