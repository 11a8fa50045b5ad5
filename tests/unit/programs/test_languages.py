"""Every language: its template builds and passes its own cases, always to the same bytes; its ABI is JavaScript's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_abi.abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.programs.building import Built, build
from oracle.programs.cases import load_cases, run_case
from oracle.programs.compilers import has_rust_target
from oracle.programs.creation import create
from oracle.programs.languages import LANGUAGES
from oracle.programs.running import Run, Workbench
from oracle.types.receipt import Outcome

DOCUMENT = (Path(__file__).parents[3] / "docs" / "LANGUAGES.md").read_text()
MIRRORS = Path(__file__).parent / "mirrors"
HERE = {
    "js": True,
    "ts": True,
    "c": True,
    "zig": True,
    "rust": shutil.which("rustc") is not None and has_rust_target("rustc"),
    "assemblyscript": shutil.which("asc") is not None,
}
PRESENT = [
    pytest.param(name, marks=pytest.mark.skipif(not is_here, reason=f"no compiler for {name} here"))
    for name, is_here in HERE.items()
]
COMPILED = [param for param in PRESENT if LANGUAGES[str(param.values[0])].engine.name == "WASM"]
TYPES = ["uint256", "int256", "int24", "bool", "address", "bytes4", "bytes", "string", "uint64[]", "string[]",
         "(uint8,bytes)[2]", "(uint64,bool)", "uint16[2]"]  # fmt: skip
BYTES = st.binary(max_size=70)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
VALUES = st.tuples(
    st.integers(0, 2**256 - 1),
    st.integers(-(2**255), 2**255 - 1),
    st.integers(-(2**23), 2**23 - 1),
    st.booleans(),
    st.binary(min_size=20, max_size=20).map(lambda data: "0x" + data.hex()),
    st.binary(min_size=4, max_size=4),
    BYTES,
    TEXT,
    st.lists(st.integers(0, 2**64 - 1), max_size=5),
    st.lists(TEXT, max_size=4),
    st.lists(st.tuples(st.integers(0, 255), BYTES), min_size=2, max_size=2),
    st.tuples(st.integers(0, 2**64 - 1), st.booleans()),
    st.lists(st.integers(0, 2**16 - 1), min_size=2, max_size=2),
)


@dataclass(frozen=True)
class Mirror:
    built: Built
    bench: Workbench

    def run(self, data: bytes) -> Run:
        return self.bench.run(self.built.manifest, self.built.code, data)


@pytest.fixture(scope="module")
def mirror(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Mirror]:
    made: dict[str, Mirror] = {}

    def mirror_in(lang: str) -> Mirror:
        if lang not in made:
            project = create(tmp_path_factory.mktemp("mirror") / "mirror", LANGUAGES[lang])
            shutil.copy(MIRRORS / project.entry.name, project.root / project.entry)
            made[lang] = Mirror(build(project), bench)
        return made[lang]

    return mirror_in


@pytest.mark.parametrize("lang", PRESENT)
def test_template_builds_twice_to_the_same_bytes_and_passes_its_cases(lang, make_project, bench):
    first, second = build(make_project(lang, "one")), build(make_project(lang, "two"))
    assert first.code == second.code
    assert str(first.project.root).encode() not in first.code
    cases = load_cases(first.project)
    assert len(cases) == 4
    for case in cases:
        _, wrong = run_case(first.project, bench, first.manifest, first.code, case)
        assert wrong == [], (case.name, wrong)


@pytest.mark.parametrize("lang", COMPILED)
def test_document_program_works_as_pasted(lang, make_project, bench):
    section = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)
    [section] = [part for part in section if part.splitlines()[0] == LANGUAGES[lang].title]
    project = make_project(lang)
    (project.root / project.entry).write_text(re.search(r"```\w+\n(.*?)```", section, re.DOTALL)[1])
    built = build(project)
    data = encode(["address", "uint256[]"], ["0x" + "ab" * 20, [1, 2, 2**40]])
    run = bench.run(built.manifest, built.code, data)
    assert run.output == encode(["address", "uint256"], ["0x" + "ab" * 20, 3 + 2**40])


@pytest.mark.parametrize("lang", COMPILED)
def test_abi_any_values_come_back_as_they_were(lang, mirror):
    subject = mirror(lang)

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(values=VALUES)
    def holds(values):
        data = encode(TYPES, values)
        run = subject.run(data)
        assert (run.outcome, run.output) == (Outcome.COMPLETED, data)

    holds()


@pytest.mark.parametrize("lang", COMPILED)
def test_abi_changed_data_is_refused_or_read_as_javascript_does(lang, mirror):
    subject, reference = mirror(lang), mirror("js")
    untold = (b"UTF-8", b"int24") if lang == "rust" else (b"UTF-8",)  # a string's content is the program's; no i24

    @settings(max_examples=120, deadline=None, derandomize=True)
    @given(
        values=VALUES, at=st.floats(0, 0.999), value=st.integers(0, 255), cut=st.sampled_from([0, 0, 0, 1, 31, 32, 64])
    )
    def holds(values, at, value, cut):
        data = bytearray(encode(TYPES, values))
        data[int(at * len(data))] = value
        changed = bytes(data[: len(data) - cut])
        expected, actual = reference.run(changed), subject.run(changed)
        if any(word in expected.output for word in untold):
            return
        assert actual.outcome is expected.outcome, (expected.output, actual.output)
        if expected.outcome is Outcome.COMPLETED:
            assert actual.output == expected.output
        else:
            assert actual.outcome is Outcome.TRAPPED
            assert actual.output.startswith(b"abi: ")

    holds()
