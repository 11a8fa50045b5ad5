"""
A program's tests as data, the same for all languages: `tests/*.toml` and `tests/*.json`.

    blobs = ["data/readings.csv"]            # files of the project that blobs may be read from; for all cases here

    [[case]]
    name = "median of three"
    input = [[3, 1, 2]]                      # or input_hex = "0x…", input_text = "…"; nothing: no bytes
    output = [2]                             # or output_hex, output_text; nothing: not compared
    outcome = "COMPLETED"                    # this if left out
    reason = "no values"                     # for other outcomes: must be in the reason
    max_fuel = 1_000_000                     # nothing: not compared
    request = { created_at = 1700000000, nonce = 3, chain_id = 1 }
    input_types = ["int256[]"]               # the project's [abi] if left out; so with output_types

JSON has the same names: `{"case": [{…}]}`. `check` says what is wrong with a run in lines that can be read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from oracle.attestation.strict_json import require_shallow
from oracle.errors import EncodingError, InvalidInputError, LimitExceededError, ProjectError
from oracle.programs.project import CASES_DIR, Project, read_text, read_toml, require_keys, types_of
from oracle.programs.running import Facts, Run, Workbench
from oracle.programs.values import decode_values, encode_values
from oracle.types.receipt import Outcome

MAX_CASES: Final = 1_000
MAX_BLOB_BYTES: Final = 32 << 20  # what one job may read
_INPUT = ("input", "input_hex", "input_text")
_OUTPUT = ("output", "output_hex", "output_text")
_KEYS = {*_INPUT, *_OUTPUT, "outcome", "reason", "max_fuel", "request", "input_types", "output_types"}
_FACTS = {"created_at": "created_at_s", "nonce": "nonce", "chain_id": "chain_id"}
_FACT_BITS = {"created_at": 31, "nonce": 64, "chain_id": 256}


@dataclass(frozen=True, slots=True)
class Case:
    """One run and what must come of it. What is None is not compared."""

    name: str
    given: bytes
    blobs: tuple[Path, ...]
    facts: Facts
    outcome: Outcome
    output: bytes | None
    output_types: tuple[str, ...]
    reason: str | None
    max_fuel: int | None


def load_cases(project: Project) -> list[Case]:
    """
    All cases of `project`, by file and place.

    Raises:
        ProjectError: a case does not say what it must, or there are none.
        LimitExceededError: too many, or a file is too large.
    """
    directory = project.inside(CASES_DIR)
    files = sorted(path for path in directory.glob("*") if path.suffix in (".toml", ".json"))
    cases = [case for path in files for case in _cases(project, project.inside(path))]
    if not cases:
        raise ProjectError(f"no cases under {CASES_DIR}/: write one as docs/PROGRAMS.md shows")
    if len(cases) > MAX_CASES:
        raise LimitExceededError("number of cases", MAX_CASES, len(cases))
    return cases


def run_case(project: Project, bench: Workbench, manifest: bytes, code: bytes, case: Case) -> tuple[Run, list[str]]:
    """The run of one case, and what is wrong with it. Raises as `Workbench.run`."""
    blobs = tuple(read_blob(project.inside(path)) for path in case.blobs)
    run = bench.run(manifest, code, case.given, facts=case.facts, blobs=blobs)
    return run, check(case, run)


def read_blob(path: Path) -> bytes:
    """
    A file's bytes, for a program to read by hash.

    Raises:
        ProjectError, LimitExceededError: it cannot be read, or is too large for a job.
    """
    try:
        if path.stat().st_size > MAX_BLOB_BYTES:
            raise LimitExceededError(f"size of {path.name} in bytes", MAX_BLOB_BYTES, path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise ProjectError(f"the blob {path.name} cannot be read: {error.strerror}") from error


def check(case: Case, run: Run) -> list[str]:
    """What differs from what the case says, a line each; nothing if all is well."""
    said = printable(run.output.decode("utf-8", "replace"))
    if run.outcome is not case.outcome:
        why = f" ({said})" if run.outcome is not Outcome.COMPLETED else ""
        return [f"expected outcome {case.outcome.name}", f"     got outcome {run.outcome.name}{why}"]
    wrong = []
    if case.output is not None and run.output != case.output:
        wrong += [
            f"expected output {shown(case.output, case.output_types)}",
            f"     got output {shown(run.output, case.output_types)}",
        ]
    if case.reason is not None and case.reason not in run.output.decode("utf-8", "replace"):
        wrong += [f"expected a reason with {case.reason!r}", f"     got {said!r}"]
    if case.max_fuel is not None and run.fuel_used > case.max_fuel:
        wrong += [f"expected at most {case.max_fuel:,} fuel", f"     got {run.fuel_used:,}"]
    return wrong


def shown(data: bytes, types: Sequence[str]) -> str:
    """`data` decoded if it can be, else in hexadecimal."""
    if types:
        try:
            return ", ".join(json.dumps(value) for value in decode_values(types, data))
        except ProjectError:
            pass
    return "0x" + data.hex()


def printable(text: str) -> str:
    """`text` of any origin, fit for a terminal: what cannot be printed becomes a replacement character."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _cases(project: Project, path: Path) -> list[Case]:
    document = _json(path) if path.suffix == ".json" else read_toml(path)
    require_keys(document, {"case"}, {"blobs"}, path.name)
    table = document["case"]
    if not isinstance(table, list) or len(table) > MAX_CASES:
        raise ProjectError(f"{path.name}: `case` must be a list of at most {MAX_CASES} tables: write [[case]]")
    blobs = _blobs(project, document.get("blobs", []), path.name)
    return [_case(project, blobs, entry, f"{path.name}: case {number}") for number, entry in enumerate(table, 1)]


def _json(path: Path) -> Any:
    text = read_text(path)
    try:
        require_shallow(text, path.name)
        return json.loads(text)
    except (EncodingError, ValueError) as error:
        raise ProjectError(f"{path.name} is not JSON: {str(error)[:200]}") from error


def _blobs(project: Project, value: object, what: str) -> tuple[Path, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ProjectError(f"{what}: `blobs` must be a list of files")
    return tuple(project.inside(name) for name in value)


def _case(project: Project, blobs: tuple[Path, ...], table: object, what: str) -> Case:
    require_keys(table, set(), {"name", *_KEYS}, what)
    assert isinstance(table, dict)
    try:
        input_types = types_of(table.get("input_types", list(project.input_types)), "input_types")
        output_types = types_of(table.get("output_types", list(project.output_types)), "output_types")
        return Case(
            name=printable(str(table.get("name", what))[:200]),
            given=_bytes(table, _INPUT, input_types) or b"",
            blobs=blobs,
            facts=_facts(project, table.get("request", {})),
            outcome=_outcome(table.get("outcome", Outcome.COMPLETED.name)),
            output=_bytes(table, _OUTPUT, output_types),
            output_types=output_types,
            reason=_optional(table, "reason", str),
            max_fuel=_optional(table, "max_fuel", int),
        )
    except InvalidInputError as error:
        raise ProjectError(f"{what}: {error}") from error
    except ProjectError as error:
        raise ProjectError(f"{what}: {error}") from error


def _bytes(table: Mapping[str, Any], names: tuple[str, str, str], types: Sequence[str]) -> bytes | None:
    given = [name for name in names if name in table]
    if len(given) > 1:
        raise ProjectError(f"{given[0]} and {given[1]} say the same thing twice: leave one out")
    if not given:
        return None
    value = table[given[0]]
    if given[0].endswith("_text") and isinstance(value, str):
        return value.encode()
    if given[0].endswith("_hex") and isinstance(value, str):
        return parse_bytes(value, given[0])
    if given[0] == names[0] and isinstance(value, list):
        return encode_values(types, value)
    raise ProjectError(f"{given[0]} is not what it must be: a list of values for {names[0]}, text for the others")


def parse_bytes(text: str, what: str) -> bytes:
    """
    The bytes of `0x…` text.

    Raises:
        ProjectError: it is none.
    """
    try:
        if text.startswith("0x"):
            return bytes.fromhex(text[2:])
    except ValueError:
        pass
    raise ProjectError(f"{what} must be 0x and an even number of hexadecimal digits, not {text[:80]!r}")


def _optional(table: Mapping[str, Any], name: str, kind: type) -> Any:
    value = table.get(name)
    if value is not None and type(value) is not kind:
        raise ProjectError(f"{name} must be {'a text' if kind is str else 'an integer'}, not {value!r:.80}")
    return value


def _outcome(name: object) -> Outcome:
    if not isinstance(name, str) or name not in Outcome.__members__:
        raise ProjectError(f"outcome must be one of {', '.join(Outcome.__members__)}")
    return Outcome[name]


def _facts(project: Project, table: object) -> Facts:
    require_keys(table, set(), set(_FACTS), "request")
    assert isinstance(table, dict)
    for name, value in table.items():
        if type(value) is not int or not 0 <= value < 1 << _FACT_BITS[name]:
            raise ProjectError(f"request.{name} must be an integer below 2^{_FACT_BITS[name]}")
    given = {_FACTS[name]: value for name, value in table.items()}
    if project.manifest.fetch is not None:  # servers' certificates are judged by it
        given.setdefault("created_at_s", int(time.time()))
    return Facts(**given)
