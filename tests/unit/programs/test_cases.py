"""Cases: what they may say, how a difference is told, and that malformed ones are refused."""

from __future__ import annotations

import json

import pytest

from oracle.errors import AdytonError, ProjectError
from oracle.programs.building import build
from oracle.programs.cases import Case, check, load_cases, run_case
from oracle.programs.observing import Trace
from oracle.programs.project import load
from oracle.programs.running import DEFAULT_CREATED_AT_S, Facts, Run
from oracle.types.receipt import Outcome

CASE = "[[case]]\n"


def written(project, text, name="cases.toml"):
    for old in (project.root / "tests").iterdir():
        old.unlink()
    (project.root / "tests" / name).write_text(text)
    return load_cases(project)


def a_run(outcome=Outcome.COMPLETED, output=b"", fuel=10):
    return Run(outcome, output, fuel, (), 0, 0.0, Trace())


def a_case(**changes):
    terms = {"name": "n", "given": b"", "blobs": (), "facts": Facts(), "outcome": Outcome.COMPLETED, "output": None,
             "output_types": (), "reason": None, "max_fuel": None}  # fmt: skip
    return Case(**(terms | changes))


def test_cases_all_ways_to_say_a_thing_are_read(make_project):
    project = make_project()
    first, second, third = written(
        project,
        CASE + 'input = [7]\noutput = ["0x08"]\nmax_fuel = 5\nrequest = { created_at = 9, nonce = 2, chain_id = 1 }\n'
        + CASE + 'name = "raw"\ninput_hex = "0x0102"\noutput_text = "é"\n'
        + CASE + 'input_types = ["string"]\ninput = ["a"]\noutcome = "TRAPPED"\nreason = "no"\n',
    )  # fmt: skip
    assert first.given == (7).to_bytes(32)
    assert first.output == (8).to_bytes(32)
    assert (first.max_fuel, first.facts, first.name) == (5, Facts(9, 2, 1), "cases.toml: case 1")
    assert (second.given, second.output, second.name) == (b"\1\2", "é".encode(), "raw")
    assert second.facts.created_at_s == DEFAULT_CREATED_AT_S
    assert (len(third.given), third.outcome, third.reason) == (96, Outcome.TRAPPED, "no")


def test_cases_json_says_the_same_as_toml(make_project):
    project = make_project()
    as_toml = written(project, CASE + 'name = "x"\ninput = [7]\noutput = [1]\n')
    assert written(project, json.dumps({"case": [{"name": "x", "input": [7], "output": [1]}]}), "x.json") == as_toml


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks 'case'"),
        ("case = 3", "must be a list"),
        ("case = [3]", "must be a table"),
        (CASE + "inptu = [1]", "case 1 does not know 'inptu'"),
        (CASE + "input = [1, 2]", "2 values were given for 1 types"),
        (CASE + "input = [-1]", "are not"),
        (CASE + 'input = [1]\ninput_hex = "0x"', "twice"),
        (CASE + 'input_hex = "0x0"', "even number"),
        (CASE + "input_text = 3", "is not what it must be"),
        (CASE + 'outcome = "FINE"', "must be one of COMPLETED"),
        (CASE + "max_fuel = 'x'", "must be an integer"),
        (CASE + "request = { created_at = -1 }", "must be an integer below"),
        (CASE + "request = { gas = 1 }", "does not know 'gas'"),
        ("blobs = ['../../x']\n" + CASE, "leads out of the project"),
        ("blobs = 'x'\n" + CASE, "must be a list"),
        (CASE * 1_001, "at most 1000"),
    ],
)
def test_cases_that_are_wrong_are_refused_with_their_place(make_project, text, said):
    with pytest.raises(AdytonError, match=said) as caught:
        written(make_project(), text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '"x"', '{"case": 1}'])
def test_cases_json_of_any_shape_is_refused(make_project, text):
    with pytest.raises(ProjectError):
        written(make_project(), text, "x.json")


def test_cases_none_says_so(make_project):
    with pytest.raises(ProjectError, match="no cases under tests/"):
        written(make_project(), "", "readme.md")


def test_cases_name_for_a_terminal_has_no_escapes(make_project):
    [case] = written(make_project(), json.dumps({"case": [{"name": "a\x1b[2J\ud800"}]}), "x.json")
    assert case.name == "a\ufffd[2J\ufffd"


def test_check_difference_is_told_in_values():
    case = a_case(output=(9).to_bytes(32), output_types=("uint256",))
    assert check(case, a_run(output=(9).to_bytes(32))) == []
    assert check(case, a_run(output=(8).to_bytes(32))) == ["expected output 9", "     got output 8"]
    assert check(case, a_run(output=b"\1"))[1] == "     got output 0x01"


def test_check_outcome_reason_and_fuel_are_compared():
    trapped = a_run(Outcome.TRAPPED, b"no rain")
    assert check(a_case(), trapped) == ["expected outcome COMPLETED", "     got outcome TRAPPED (no rain)"]
    assert check(a_case(outcome=Outcome.TRAPPED, reason="rain"), trapped) == []
    assert check(a_case(outcome=Outcome.TRAPPED, reason="sun"), trapped)[1] == "     got 'no rain'"
    assert check(a_case(max_fuel=9), a_run()) == ["expected at most 9 fuel", "     got 10"]


def test_run_case_blob_of_the_project_is_read_by_its_hash(make_project, bench):
    project = make_project()
    file = project.root / "adyton-program.toml"
    file.write_text(file.read_text().replace("capabilities = []", 'capabilities = ["blob"]'))
    source = "function main(input) { return String(adyton.blob(adyton.keccak256(input)).length) }"
    (project.root / "src" / "main.js").write_text(source)
    (project.root / "data").mkdir()
    (project.root / "data" / "three").write_text("abc")
    project = load(project.root)
    built = build(project)
    [with_blob] = written(project, 'blobs = ["data/three"]\n' + CASE + 'input_text = "abc"\noutput_text = "3"')
    assert run_case(project, bench, built.manifest, built.code, with_blob)[1] == []
    [without] = written(project, CASE + 'input_text = "abc"')
    with pytest.raises(ProjectError, match="name its file with --blob"):
        run_case(project, bench, built.manifest, built.code, without)
