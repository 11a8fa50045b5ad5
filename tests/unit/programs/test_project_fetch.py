"""The table [fetch] of a project becomes the manifest's section, and nothing else does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from oracle.errors import ProjectError
from oracle.programs.building import build
from oracle.programs.cases import load_cases
from oracle.programs.project import PROJECT_FILE, Project, load
from oracle.programs.running import Workbench
from oracle.types.program import Manifest
from oracle.types.web import FetchTerms

HEAD = 'name = "price"\nlang = "js"\nentry = "main.js"\n'
TABLE = '[fetch]\nhosts = ["a.example"]\nmethods = ["GET"]\ncalls = 1\nbytes = 1000\ntime_ms = 1000\n'


def project(directory: Path, text: str) -> Path:
    (directory / "main.js").write_text("function main() {}")
    (directory / PROJECT_FILE).write_text(HEAD + text)
    return directory


def test_load_project_that_fetches_has_the_terms_in_its_manifest(tmp_path: Path) -> None:
    manifest = load(project(tmp_path, 'capabilities = ["fetch"]\n' + TABLE)).manifest
    assert manifest.fetch == FetchTerms(("a.example",), ("GET",), 1, 1_000, 1_000)
    assert Manifest.parse(manifest.encode()) == manifest


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        'capabilities = ["fetch"]\n',
        'capabilities = ["fetch"]\n' + TABLE.replace("a.example", "127.0.0.1"),
        'capabilities = ["fetch"]\nfetch = 1\n',
        "capabilities = 1\n" + TABLE,
    ],
)
def test_load_project_whose_table_and_capability_do_not_belong_together_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProjectError):
        load(project(tmp_path, text))


def test_cases_of_a_program_that_fetches_are_of_the_present(tmp_path: Path) -> None:
    made = load(project(tmp_path, 'capabilities = ["fetch"]\n' + TABLE))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "cases.toml").write_text("[[case]]\n[[case]]\nrequest = { created_at = 5 }\n")
    now, told = (case.facts.created_at_s for case in load_cases(made))
    assert abs(now - time.time()) < 60
    assert told == 5


@pytest.mark.parametrize(
    ("lang", "source"),
    [
        (
            "c",
            """#include "adyton.h"
ADYTON_RUN {
  adyton_bytes answer;
  adyton_fetch("GET https://other.example/ follow", (adyton_bytes){0}, &answer);
  adyton_output(answer.at, answer.size);
}""",
        ),
        (
            "zig",
            """const adyton = @import("adyton");
export fn run() void {
    adyton.output(adyton.fetch("GET https://other.example/ follow", "").body);
}""",
        ),
    ],
)
def test_sdk_fetch_of_a_host_that_is_not_named_says_why(
    lang: str, source: str, make_project: Callable[[str], Project], bench: Workbench
) -> None:
    made = make_project(lang)
    file = made.root / PROJECT_FILE
    file.write_text(re.sub("capabilities = .*", 'capabilities = ["fetch"]', file.read_text()) + TABLE)
    (made.root / made.entry).write_text(source)
    built = build(load(made.root))
    run = bench.run(built.manifest, built.code, b"")
    assert b"other.example" in run.output
    assert next(iter(run.trace.counts)) == "fetch"
