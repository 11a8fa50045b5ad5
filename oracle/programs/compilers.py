"""
Turn a project's source into one artifact with the compilers that are on this machine.

The same source, the same version of the compiler and the same SDK file give the same bytes on every machine: compilers
of WebAssembly see a copy of the project under a fixed relative name and are told to strip paths and symbols, and the
bundler writes no path but relative ones. JavaScript that needs no bundling is its own artifact.

| language       | compiler                                                       |
| js             | none; esbuild if the entry imports or exports                  |
| ts             | esbuild: in the project's node_modules, beside Python, on PATH |
| c, zig         | PyPI's ziglang, else `zig` on PATH                             |
| rust           | rustc with the target wasm32-unknown-unknown                   |
| assemblyscript | npm's assemblyscript: where esbuild is looked for              |

Compilers run with the rights of whoever calls this. Build what you would also run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oracle.errors import ConfigurationError, LimitExceededError, ProjectError
from oracle.programs.project import Project

MAX_ARTIFACT_BYTES: Final = 4 << 20  # what both engines take
RUST_TARGET: Final = "wasm32-unknown-unknown"
_STACK_BYTES = 256 << 10  # at the bottom of memory, so that an overflow traps
_TIME_LIMIT_S = 600
_MAX_MESSAGE_CHARACTERS = 6_000
_MODULE_SYNTAX = re.compile(r"^\s*(import\b\s*[\w{*\"']|export\b)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Compiled:
    """An artifact, and what made it."""

    code: bytes
    compiler: str


def compile_project(project: Project) -> Compiled:
    """
    The project's artifact.

    Raises:
        ProjectError: the compiler refuses the source; its words follow.
        ConfigurationError: the compiler is not here; the message says how to get it.
        LimitExceededError: the project or its artifact is too large.
    """
    compiled = _COMPILERS[project.language.name](project)
    if len(compiled.code) > MAX_ARTIFACT_BYTES:
        raise LimitExceededError("size of the artifact in bytes", MAX_ARTIFACT_BYTES, len(compiled.code))
    return compiled


# -- one function per language -----------------------------------------------------------------------------------------


def _javascript(project: Project) -> Compiled:
    code = project.inside(project.entry).read_bytes()
    if _MODULE_SYNTAX.search(code.decode("utf-8", "replace")):
        return _bundled(project)
    return Compiled(code, "as written")


def _bundled(project: Project) -> Compiled:
    tool = _npm_tool(project, "esbuild", "esbuild")
    options = ["--bundle", "--format=iife", "--global-name=program", "--footer:js=const main = program.main;"]
    options += ["--target=es2024", "--platform=neutral", "--main-fields=module,main", "--charset=utf8"]
    options += ["--legal-comments=none", "--log-level=error", "--color=false"]
    if not (project.root / "tsconfig.json").is_file():
        options.append("--tsconfig-raw={}")  # or it would take one from a folder above
    with tempfile.TemporaryDirectory(prefix="adyton-build-") as temporary:
        out, meta = Path(temporary, "out.js"), Path(temporary, "meta.json")
        _run([*tool, str(project.entry), *options, f"--outfile={out}", f"--metafile={meta}"], project.root, "esbuild")
        for name in json.loads(meta.read_bytes())["inputs"]:
            project.inside(name)
        return Compiled(out.read_bytes(), f"esbuild {_version([*tool, '--version'])}")


def _c(project: Project) -> Compiled:
    zig = _zig()
    flags = ["-target", "wasm32-wasi", "-mexec-model=reactor", "-std=c17", "-O2", "-Wall", "-Isdk", "-fno-ident"]
    flags += ["-Wl,--strip-all", f"-Wl,-z,stack-size={_STACK_BYTES}"]
    with _staged(project) as (root, caches):
        entry = project.entry
        sources = sorted(
            str(path) for path in project.sources() if path.suffix == ".c" and path.parts[0] == entry.parts[0]
        )
        _run([*zig, "cc", *flags, *sources, "-o", "out.wasm"], root, "zig cc", caches)
        return Compiled((root / "out.wasm").read_bytes(), f"zig cc {_version([*zig, 'version'])}")


def _zig_program(project: Project) -> Compiled:
    zig = _zig()
    options = ["-target", "wasm32-freestanding", "-fno-entry", "-rdynamic", "-O", "ReleaseSmall", "-fstrip"]
    options += ["--stack", str(_STACK_BYTES), "--dep", "adyton", f"-Mroot={project.entry}", "-Madyton=sdk/adyton.zig"]
    with _staged(project) as (root, caches):
        _run([*zig, "build-exe", *options, "-femit-bin=out.wasm"], root, "zig", caches)
        return Compiled((root / "out.wasm").read_bytes(), f"zig {_version([*zig, 'version'])}")


def _rust(project: Project) -> Compiled:
    rustc = shutil.which("rustc")
    if rustc is None:
        raise ConfigurationError(f"no `rustc` here: install Rust and run `rustup target add {RUST_TARGET}`")
    if not has_rust_target(rustc):
        raise ConfigurationError(f"rustc has no target {RUST_TARGET}: run `rustup target add {RUST_TARGET}`")
    options = ["--target", RUST_TARGET, "--crate-type", "cdylib", "--crate-name", "program", "--edition", "2021"]
    options += ["-C", "opt-level=3", "-C", "panic=abort", "-C", "strip=symbols", "-C", "lto=fat"]
    options += ["-C", "codegen-units=1", "-C", f"link-arg=-zstack-size={_STACK_BYTES}", "--color", "never"]
    with _staged(project) as (root, _):
        _run([rustc, *options, str(project.entry), "-o", "out.wasm"], root, "rustc")
        return Compiled((root / "out.wasm").read_bytes(), _version([rustc, "--version"]))


def _assemblyscript(project: Project) -> Compiled:
    tool = _npm_tool(project, "asc", "assemblyscript")
    with _staged(project) as (root, _):
        options = ["-O3", "--runtime", "stub", "--outFile", "out.wasm"]
        _run([*tool, str(project.entry), *options], root, "asc")
        return Compiled((root / "out.wasm").read_bytes(), f"asc {_version([*tool, '--version'])}")


_COMPILERS: Final[dict[str, Callable[[Project], Compiled]]] = {
    "js": _javascript,
    "ts": _bundled,
    "c": _c,
    "zig": _zig_program,
    "rust": _rust,
    "assemblyscript": _assemblyscript,
}


# -- tools -------------------------------------------------------------------------------------------------------------


def has_rust_target(rustc: str) -> bool:
    """Whether `rustc` can compile for WebAssembly."""
    try:
        directory = Path(_answer([rustc, "--print", "target-libdir", "--target", RUST_TARGET]))
    except (OSError, subprocess.SubprocessError):
        return False
    return any(directory.glob("libcore-*"))


def _zig() -> list[str]:
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang"]
    zig = shutil.which("zig")
    if zig is None:
        raise ConfigurationError("no Zig compiler here: run `pip install 'adyton[build]'`, or put `zig` on PATH")
    return [zig]


def _npm_tool(project: Project, name: str, package: str) -> list[str]:
    """Where the command `name` is: the project's own first, then beside this Python, then on PATH."""
    places = [project.root / "node_modules" / ".bin" / name, Path(sys.executable).parent / name]
    found = next((str(place) for place in places if place.is_file()), None) or shutil.which(name)
    if found is None:
        words = "npm install" if (project.root / "package.json").is_file() else f"npm install --prefix . {package}"
        raise ConfigurationError(f"no `{name}` here: run `{words}` in {project.root.name}/")
    return [found]


def _version(command: Sequence[str]) -> str:
    try:
        return _answer(command).removeprefix("Version ") or "of an unknown version"
    except (OSError, subprocess.SubprocessError):
        return "of an unknown version"


def _answer(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603  # as `_run`
    return done.stdout.strip()


def _run(command: Sequence[str], root: Path, what: str, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(  # noqa: S603  # a compiler that was looked for by name, no shell
            command,
            cwd=root,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{what} could not be run: {str(error)[:200]}") from error
    if done.returncode:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").replace(f"{root}{os.sep}", "").strip()
        raise ProjectError(f"{what} refuses the program:\n{said[:_MAX_MESSAGE_CHARACTERS]}")


@contextmanager
def _staged(project: Project) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of the project's files for the compiler, and where it may keep what it makes on the way."""
    with tempfile.TemporaryDirectory(prefix="adyton-build-") as temporary:
        root = Path(temporary, "program")
        for relative in project.sources():
            target = root / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project.root / relative, target)
        yield root, {"ZIG_LOCAL_CACHE_DIR": str(Path(temporary, "zig-cache"))}
