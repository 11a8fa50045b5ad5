"""A program from nothing to the chain: the commands of docs/PROGRAMS.md as they stand there, and mistakes."""

import json
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from oracle.cli import adyton as group
from oracle.cli.request import _readable
from oracle.devnet import SETTINGS_FILE
from oracle.errors import AdytonError
from tests.end_to_end.conftest import ROOT, run

HUNDRED_THOUSAND = "0x" + (100_000).to_bytes(32).hex()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a project `sample` in JavaScript is."""
    where = tmp_path_factory.mktemp("projects")
    assert run("new", "sample", cwd=where).returncode == 0
    return where


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(group, arguments)


def test_document_commands_lead_from_nothing_to_an_answer_from_the_chain(stack, tmp_path):
    section = (ROOT / "docs" / "PROGRAMS.md").read_text().split("## From nothing to a program")[1]
    commands = re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]
    shim = tmp_path / "bin" / "adyton"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m oracle "$@"\n')
    shim.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ADYTON_")}
    path = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
    settings = str(stack.directory / SETTINGS_FILE)
    done = subprocess.run(
        ["sh", "-euc", commands],
        check=False, cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "ADYTON_CONFIG": settings},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "9592" in lines
    assert lines[-1] == _readable((9_592).to_bytes(32))
    assert "4 passed, 0 failed" in done.stderr
    assert (tmp_path / "primes" / "build" / "manifest.json").exists()


def test_publish_gives_the_id_that_build_said(stack, folder):
    environment = {"ADYTON_CONFIG": str(stack.directory / SETTINGS_FILE)}
    built = run("build", "sample", cwd=folder)
    published = run("publish", "sample", "--json", cwd=folder, **environment)
    assert published.returncode == 0, published.stderr
    assert json.loads(published.stdout)["program_id"] == built.stdout.strip()
    by_file = run(
        "program", "publish", "sample/build/sample.js", "--manifest", "sample/build/manifest.json",
        cwd=folder, **environment,
    )  # fmt: skip
    assert by_file.stdout == built.stdout


def test_run_json_says_all_that_a_receipt_would_and_what_it_took(stack, folder):
    environment = {"ADYTON_CONFIG": str(stack.directory / SETTINGS_FILE)}
    done = run("run", "sample", "--input", HUNDRED_THOUSAND, "--json", cwd=folder, **environment)
    document = json.loads(done.stdout)
    assert (done.returncode, document["outcome"], document["values"]) == (0, "COMPLETED", [9_592])
    assert document["limits"]["fuel"]["used"] == document["fuel_used"] > 10**8
    assert document["cost_wei"] > 0
    assert document["peak_memory_bytes"] > 1 << 20


def test_run_file_with_trace_and_blob(here, tmp_path):
    (tmp_path / "a.js").write_text("function main(i) { adyton.log('x\\x1b'); return adyton.blob(adyton.keccak256(i)) }")
    (tmp_path / "blob").write_text("hello")
    done = here("run", "a.js", "--input-text", "hello", "--blob", "blob", "--trace")
    assert (done.exit_code, done.stdout) == (0, "0x68656c6c6f\n"), done.stderr
    assert "log   x\ufffd" in done.stderr
    assert re.search(r"calls \d+ of the host: log x1, keccak256 x1, blob x1", done.stderr)
    assert "1 log: read" in done.stderr


def test_run_that_does_not_complete_exits_1_with_its_reason(folder, here):
    done = here("run", str(folder / "sample"), "--abi", "uint256", "10000001")
    assert done.exit_code == 1
    assert "n is too large" in done.stdout
    assert done.stderr.startswith("TRAPPED: ")


def test_test_failing_case_is_shown_and_exits_1(here, tmp_path):
    assert here("new", "wrong").exit_code == 0
    (tmp_path / "wrong" / "tests" / "cases.toml").write_text("[[case]]\nname = 'ten'\ninput = [10]\noutput = [5]\n")
    done = here("test", "wrong")
    assert done.exit_code == 1
    assert re.match(r"FAIL  ten  \([\d,]+ fuel\)\n +expected output 5\n +got output 4\n", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("new", "sample"), "exists already"),
        (("new", "Sample"), "is no name"),
        (("new", "x", "--lang", "python"), "Python programs are not offered"),
        (("new", "x", "--lang", "cobol"), "no such language"),
        (("build", "."), "run `adyton new NAME"),
        (("run", "."), "run `adyton new NAME"),
        (("run", "sample", "--abi", "uint256", "x"), "is an integer"),
        (("run", "sample", "--abi", "uint7", "1"), "is no ABI type"),
        (("run", "sample", "--abi", "uint8[]", "[1"), "is not JSON"),
        (("run", "sample", "--input", "0x1"), "even number"),
        (("run", "sample", "--manifest", "sample/README.md"), "--manifest is for a FILE"),
        (("run", "sample/README.md"), "cannot tell the engine"),
        (("run", "sample/src/main.js", "--manifest", "sample/README.md"), "manifest is not JSON"),
        (("run", "sample", "--pool-id", "0x1"), "pool id must be"),
        (("publish", "sample"), "cannot reach a node"),
    ],
)
def test_mistake_is_one_sentence(folder, monkeypatch, arguments, said):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ADYTON_RPC_URL", "http://127.0.0.1:9")
    error = CliRunner().invoke(group, arguments).exception
    assert isinstance(error, AdytonError), error
    assert re.search(said, str(error))
    assert len(str(error)) < 300


def test_two_ways_to_give_the_input_are_refused(folder):
    done = CliRunner().invoke(group, ["run", str(folder / "sample"), "--input", "0x", "--abi", "uint8", "1"])
    assert (done.exit_code, "give one of" in done.output) == (2, True)
