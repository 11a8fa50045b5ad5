"""
Compile QuickJS-NG to WebAssembly: `build/quickjs/quickjs.wasm`, the same bytes wherever it is done.

The source is the sdist of PyPI's quickjs-ng (locked by hash in scripts/quickjs.lock), the compiler is PyPI's ziglang
(locked in requirements.lock), the entry points are oracle/enclave/quickjs/guest.c. Takes half a minute. What comes out
is checked by `oracle.enclave.build`, which refuses any other bytes than those it names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "quickjs" / "quickjs.wasm"
LOCK = ROOT / "scripts" / "quickjs.lock"
GUEST = ROOT / "oracle" / "enclave" / "quickjs" / "guest.c"
UV_PYTHON = ROOT / "build" / "uv" / "bin" / "python"  # its pip reads an sdist's metadata with a locked setuptools
ENGINE_SOURCES = ("quickjs.c", "dtoa.c", "libregexp.c", "libunicode.c")
STACK_BYTES = 512 << 10  # at the bottom of memory, so that an overflow traps
LIBRARY_EXPORTS = (  # functions of QuickJS that the host calls as they are
    "JS_ExecutePendingJob",
    "JS_FreeCString",
    "JS_GetException",
    "JS_GetUint8Array",
    "JS_HasException",
    "JS_IsJobPending",
    "JS_NewStringLen",
    "JS_NewUint8ArrayCopy",
    "JS_ToCStringLen2",
)


def fetch(directory: Path) -> Path:
    """Download the locked source and return the folder with QuickJS-NG in it."""
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    run([UV_PYTHON, "-m", "pip", "download", *options, "--requirement", LOCK, "--dest", directory])
    shutil.unpack_archive(next(directory.glob("*.tar.gz")), directory)
    return next(directory.glob("*/upstream-quickjs"))


def build(out: Path = OUT) -> Path:
    """Compile everything into one module."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="adyton-quickjs-") as temporary:
        source = fetch(Path(temporary))
        shutil.copy(GUEST, source / GUEST.name)
        flags = ["-target", "wasm32-wasi", "-mexec-model=reactor", "-std=gnu11", "-O2", "-DNDEBUG", "-D_GNU_SOURCE"]
        flags += ["-D_WASI_EMULATED_PROCESS_CLOCKS", "-lwasi-emulated-process-clocks", "-Wl,--strip-all"]
        flags += [f"-Wl,-z,stack-size={STACK_BYTES}", *(f"-Wl,--export={name}" for name in LIBRARY_EXPORTS)]
        caches = {f"ZIG_{scope}_CACHE_DIR": f"{temporary}/zig-{scope.lower()}" for scope in ("GLOBAL", "LOCAL")}
        command = [sys.executable, "-m", "ziglang", "cc", *flags, GUEST.name, *ENGINE_SOURCES, "-o", "quickjs.wasm"]
        run(command, cwd=source, env={**os.environ, **caches})
        shutil.copy(source / "quickjs.wasm", out)
    return out


def run(command: list[str | Path], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    """Run a command; its output is shown if it fails."""
    result = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if result.returncode:
        sys.exit(result.stdout.decode(errors="replace"))


if __name__ == "__main__":
    print(build())
