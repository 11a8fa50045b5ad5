"""
A program's project: a folder with `adyton-program.toml`, source, and cases under `tests/`.

    name = "median"              # of the artifact: build/median.js
    lang = "js"                  # see oracle.programs.languages
    entry = "src/main.js"        # what the compiler begins with; the language's usual place if left out
    capabilities = ["blob"]      # none if left out

    [fetch]                      # if, and only if, capabilities name "fetch": all that a manifest's `fetch` has
    hosts = ["api.example.com"]  # and methods, calls, bytes, time_ms

    [abi]                        # what abi.encode types go in and out; for cases, and to show outputs
    input = ["int256[]"]
    output = ["int256"]

    [limits]                     # of one run; what is left out is the default of `oracle.types.program.Limits`
    fuel = 1_000_000_000

Reading is strict, and no path leads out of the folder: not by `..`, not by a symbolic link.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from oracle.errors import EncodingError, LimitExceededError, ProjectError
from oracle.programs.languages import Language, language
from oracle.programs.values import check_types
from oracle.types.program import Capability, Limits, Manifest
from oracle.types.web import FetchTerms

PROJECT_FILE: Final = "adyton-program.toml"
BUILD_DIR: Final = "build"
CASES_DIR: Final = "tests"
MAX_TEXT_BYTES: Final = 1 << 20  # of a project file or a file of cases
MAX_FILES: Final = 2_000
MAX_SOURCE_BYTES: Final = 32 << 20  # all of a project's files together
_MAX_LIMIT = 2**53 - 1
_MAX_TYPES = 64
_MAX_DOTS = 500  # in a line
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_NOT_SOURCE = frozenset({BUILD_DIR, "node_modules", "target", "asconfig.json"})


@dataclass(frozen=True, slots=True)
class Project:
    """What a project file says. `root` is resolved."""

    root: Path
    name: str
    language: Language
    entry: Path  # relative to the root
    manifest: Manifest
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]

    def inside(self, path: str | Path) -> Path:
        """
        Where `path` of the project is, links resolved.

        Raises:
            ProjectError: outside the project.
        """
        found = (self.root / path).resolve()
        if not found.is_relative_to(self.root):
            raise ProjectError(f"{str(path)[:200]!r} leads out of the project: keep it within {self.root.name}/")
        return found

    def sources(self) -> Iterator[Path]:
        """
        Every file of the project that a compiler may see, relative to the root and sorted.

        Raises:
            ProjectError: a symbolic link or another thing that is no file.
            LimitExceededError: too many files, or too large.
        """
        total = 0
        for files, path in enumerate(sorted(self._walk(self.root)), 1):
            total += path.stat().st_size
            if files > MAX_FILES:
                raise LimitExceededError("number of files in the project", MAX_FILES, files)
            if total > MAX_SOURCE_BYTES:
                raise LimitExceededError("size of the project's files in bytes", MAX_SOURCE_BYTES, total)
            yield path.relative_to(self.root)

    def _walk(self, directory: Path) -> Iterator[Path]:
        for path in directory.iterdir():
            if path.name.startswith(".") or path.name in _NOT_SOURCE:
                continue
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ProjectError(f"{path.relative_to(self.root)} is not a regular file: copy what it stands for")
            if path.is_dir():
                yield from self._walk(path)
            else:
                yield path


def load(directory: Path) -> Project:
    """
    The project in `directory`.

    Raises:
        ProjectError: there is none, or its file does not say what it must.
        LimitExceededError: the file is too large.
    """
    root = directory.resolve()
    if not (root / PROJECT_FILE).is_file():
        raise ProjectError(f"no {PROJECT_FILE} in {directory}: run `adyton new NAME --lang js` to make a project")
    document = read_toml(root / PROJECT_FILE)
    require_keys(document, {"name", "lang"}, {"entry", "capabilities", "fetch", "abi", "limits"}, PROJECT_FILE)
    of = language(_text(document["lang"], "lang"))
    abi = document.get("abi", {})
    require_keys(abi, set(), {"input", "output"}, "[abi]")
    project = Project(
        root=root,
        name=check_name(_text(document["name"], "name")),
        language=of,
        entry=Path(_text(document.get("entry", of.entry), "entry")),
        manifest=Manifest(
            of.engine, _limits(document.get("limits", {})), _capabilities(document), _fetch_terms(document)
        ),
        input_types=types_of(abi.get("input", []), "abi.input"),
        output_types=types_of(abi.get("output", []), "abi.output"),
    )
    if not project.inside(project.entry).is_file():
        raise ProjectError(
            f"the project's entry {str(project.entry)[:200]!r} is no file: set `entry` in {PROJECT_FILE}"
        )
    return project


def check_name(name: str) -> str:
    """
    `name`, if it can name a project.

    Raises:
        ProjectError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ProjectError(f"{name[:80]!r} is no name: use at most 64 of a-z, 0-9, - and _, beginning with a letter")
    return name


def read_toml(path: Path) -> dict[str, Any]:
    """
    The document in `path`.

    Raises:
        ProjectError: not TOML, or not there.
        LimitExceededError: over `MAX_TEXT_BYTES`.
    """
    text = read_text(path)
    if any(line.count(".") > _MAX_DOTS for line in text.split("\n")):  # tomllib takes quadratic time for dotted keys
        raise ProjectError(f"{path.name} has a line with more than {_MAX_DOTS} dots: break it, or write JSON cases")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProjectError(f"{path.name} is not TOML: {str(error)[:200]}") from error


def read_text(path: Path) -> str:
    """The text in `path`. Raises as `read_toml`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise ProjectError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(data) > MAX_TEXT_BYTES:
        raise LimitExceededError(f"size of {path.name} in bytes", MAX_TEXT_BYTES, path.stat().st_size)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ProjectError(f"{path.name} is not UTF-8 text") from error


def require_keys(table: object, required: set[str], optional: set[str], what: str) -> None:
    """
    Check that `table` is one and has the keys that it must have and may have.

    Raises:
        ProjectError: it is not, or has not.
    """
    if not isinstance(table, Mapping):
        raise ProjectError(f"{what} must be a table")
    unknown, missing = sorted(table.keys() - required - optional), sorted(required - table.keys())
    if unknown:
        known = ", ".join(sorted(required | optional))
        raise ProjectError(f"{what} does not know {str(unknown[0])[:80]!r}: there are {known}")
    if missing:
        raise ProjectError(f"{what} lacks {missing[0]!r}")


def types_of(value: object, what: str) -> tuple[str, ...]:
    """
    A list of ABI types.

    Raises:
        ProjectError: it is not.
    """
    if not isinstance(value, list) or len(value) > _MAX_TYPES or not all(isinstance(kind, str) for kind in value):
        raise ProjectError(f'{what} must be a list of at most {_MAX_TYPES} ABI types, like ["uint256"]')
    return check_types(value)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ProjectError(f"{what} must be a text")
    return value


def _limits(table: object) -> Limits:
    require_keys(table, set(), {field.name for field in fields(Limits)}, "[limits]")
    assert isinstance(table, dict)
    for name, value in table.items():
        if type(value) is not int or not 1 <= value <= _MAX_LIMIT:
            raise ProjectError(f"limits.{name} must be an integer from 1 to 2^53-1, not {str(value)[:40]}")
    return replace(Limits(), **table)


def _fetch_terms(document: Mapping[str, Any]) -> FetchTerms | None:
    if (Capability.FETCH in document.get("capabilities", [])) != ("fetch" in document):
        raise ProjectError(f'the capability "fetch" and the table [fetch] belong together in {PROJECT_FILE}')
    if "fetch" not in document:
        return None
    try:
        return FetchTerms.parse(document["fetch"])
    except EncodingError as error:
        raise ProjectError(f"{PROJECT_FILE}: {error}") from error


def _capabilities(document: Mapping[str, Any]) -> frozenset[str]:
    value = document.get("capabilities", [])
    if not isinstance(value, list) or not all(isinstance(name, str) and name in Capability.ALL for name in value):
        raise ProjectError(f"capabilities must be a list out of {sorted(Capability.ALL)}")
    return frozenset(value)
