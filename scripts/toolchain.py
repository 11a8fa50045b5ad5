"""
Set up everything Adyton is built, run and tested with, locked, from package registries alone.

Needs Python 3.11+ and git. Safe to run again and from two shells at once; each step is skipped when the files it
depends on have not changed since it last succeeded. Only the standard library is used, because nothing else is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
UV_VENV = ROOT / "build" / "uv"
STAMPS = ROOT / "build" / "stamps"
FOUNDRY_VERSION = "1.7.1"
SOLC_VERSION = "0.8.37"
MINIMUM_PYTHON = (3, 11)


def _version_on_path(tool: str, wanted: str) -> str | None:
    """The path of `tool` on PATH, if it is there in exactly the version wanted."""
    path = shutil.which(tool)
    if path is None or Path(path).is_relative_to(ROOT):
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        text = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
        if re.search(rf"\b{re.escape(wanted)}\b", text):
            return path
    return None


def foundry(tool: str) -> Path:
    """The executable of anvil, cast or forge: from PATH if it is of the right version, else the locked package's."""
    found = _version_on_path(tool, FOUNDRY_VERSION)
    return Path(found) if found else ROOT / "node_modules" / "@foundry-rs" / f"{tool}-linux-amd64" / "bin" / tool


def solc() -> Path:
    """The compiler: a native solc of the right version from PATH, else the locked package's behind `scripts/solc`."""
    found = _version_on_path("solc", SOLC_VERSION)
    return Path(found) if found else ROOT / "scripts" / "solc"


def environment() -> dict[str, str]:
    """The environment for child processes: our tools first on PATH, and the compiler that forge shall use."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "FOUNDRY_SOLC": str(solc()), "VIRTUAL_ENV": str(VENV)}


def _run(command: Sequence[str | Path], *, env: dict[str, str] | None = None) -> None:
    words = [str(part) for part in command]
    try:
        subprocess.run(
            words, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.output}\nset-up failed at: {' '.join(words)}")


def _make_venv() -> None:
    uv = UV_VENV / "bin" / "uv"
    if not uv.exists():
        _run([sys.executable, "-m", "venv", UV_VENV])
    pip = [UV_VENV / "bin" / "python", "-m", "pip", "install", "--quiet"]
    _run([*pip, "--require-hashes", "-r", "scripts/uv.lock"])
    if not (BIN / "python").exists():
        _run([uv, "venv", "--quiet", "--python", sys.executable, VENV])
    _run(
        [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--require-hashes", "requirements.lock"], env=environment()
    )


def _install_npm() -> None:
    _run([BIN / "npm", "ci", "--silent"], env=environment())
    for tool in ("anvil", "cast", "forge"):  # next to `adyton`, for whoever activates the environment
        (BIN / tool).unlink(missing_ok=True)
        (BIN / tool).symlink_to(foundry(tool))
    (BIN / "esbuild").unlink(missing_ok=True)  # for `adyton build`; elsewhere than on Linux: npm install esbuild
    (BIN / "esbuild").symlink_to(ROOT / "node_modules" / "@esbuild" / "linux-x64" / "bin" / "esbuild")


def _build_contracts() -> None:
    _run([BIN / "python", "scripts/build_contracts.py"], env=environment())


def _build_quickjs() -> None:
    _run([BIN / "python", "scripts/build_quickjs.py"], env=environment())


def _build_engine() -> None:
    _run([BIN / "python", "-m", "oracle.enclave.build"], env=environment())


def _install_package() -> None:
    """Put `adyton` on the environment's PATH, running the working tree's code."""
    site = next((VENV / "lib").glob("python3.*/site-packages"))
    (site / "adyton.pth").write_text(f"{ROOT}\n")
    command = BIN / "adyton"
    command.write_text(f"#!{BIN / 'python'}\nfrom oracle.cli import main\n\nmain()\n")
    command.chmod(0o755)


CONSUMERS = "tests/contracts/consumers"  # some are compiled like the contracts
CONTRACT_INPUTS = ("contracts", CONSUMERS, "foundry.toml", "package-lock.json", "scripts/build_contracts.py")
QUICKJS_INPUTS = ("oracle/enclave/quickjs", "scripts/build_quickjs.py", "scripts/quickjs.lock", "requirements.lock")

# step, what it depends on, how it is done; in this order
STEPS: tuple[tuple[str, tuple[str, ...], Callable[[], None]], ...] = (
    ("Python packages", ("requirements.lock", "scripts/uv.lock"), _make_venv),
    ("adyton command", ("scripts/toolchain.py",), _install_package),
    ("Foundry and solc packages", ("package-lock.json", ".npmrc"), _install_npm),
    ("contracts", CONTRACT_INPUTS, _build_contracts),
    ("JavaScript engine", QUICKJS_INPUTS, _build_quickjs),
    ("JavaScript engine snapshot", ("oracle/enclave", "requirements.lock", "build/quickjs"), _build_engine),
)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for directory, _, names in sorted(os.walk(path)):
        if Path(directory).name not in ("__pycache__", "engine"):
            yield from (Path(directory, name) for name in sorted(names))


def _fingerprint(inputs: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for name in inputs:
        for path in _files(ROOT / name):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def set_up(say: Callable[[str], None]) -> None:
    """Bring the working tree to where everything runs. `say` gets one line per step that had to be done."""
    if sys.version_info < MINIMUM_PYTHON:
        sys.exit(f"Adyton needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    STAMPS.mkdir(parents=True, exist_ok=True)
    with (STAMPS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name, inputs, step in STEPS:
            stamp = STAMPS / name.replace(" ", "-").replace(",", "")
            fingerprint = _fingerprint(inputs)
            if (BIN / "python").exists() and stamp.exists() and stamp.read_text() == fingerprint:
                continue
            say(f"setting up: {name}")
            started = time.monotonic()
            step()
            stamp.write_text(fingerprint)
            say(f"            done in {time.monotonic() - started:.0f} s")


def say_on_stderr(line: str) -> None:
    """Progress for people; standard output is the command's own."""
    print(line, file=sys.stderr, flush=True)
