"""The recipes in deploy/: what they lay out is reproducible, and what they run is the locked enclave on hardware."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from oracle.attestation.quoters.detection import HARDWARE
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.enclave.measurement import measure
from oracle.enclave.protocol import Describe, Description, ReceiptReply
from tests.integration.enclave.conftest import EnclaveProcess, Host

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DOCKERFILES = [DEPLOY / "nitro" / "Dockerfile", DEPLOY / "dstack" / "Dockerfile"]
GUEST = DEPLOY / "guest" / "adyton-enclave.service"
MANIFEST = DEPLOY / "gramine" / "adyton.manifest.template"


def manifest() -> dict[str, object]:
    return tomllib.loads(re.sub(r"{{.*?}}", "7100", MANIFEST.read_text()))


def commands() -> dict[str, list[str]]:
    """What each recipe runs."""
    found = {"gramine": manifest()["loader"]["argv"]}
    for path in DOCKERFILES:
        text = path.read_text().replace("\\\n", "")
        found[path.parent.name] = json.loads(text.partition("ENTRYPOINT ")[2])
    line = next(line for line in GUEST.read_text().splitlines() if line.startswith("ExecStart="))
    found["configfs"] = line.removeprefix("ExecStart=").split()
    return found


def lay_out(out: Path, umask: int) -> str:
    script = [sys.executable, str(ROOT / "scripts" / "enclave_root.py"), "--out", str(out)]
    version = ["--python", f"{sys.version_info.major}.{sys.version_info.minor}"]
    done = subprocess.run([*script, *version], check=True, capture_output=True, text=True, cwd=out.parent, umask=umask)
    return done.stdout


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "build" / "uv" / "bin" / "uv").exists() or Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not in the environment that the scripts set up")
    out = tmp_path_factory.mktemp("one") / "enclave"
    lay_out(out, 0o022)
    return out


def test_enclave_root_is_the_same_bytes_anywhere(laid_out: Path, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere" / "x"
    again.parent.mkdir()
    said = lay_out(again, 0o077)
    assert (again / "MANIFEST").read_bytes() == (laid_out / "MANIFEST").read_bytes()
    assert said.splitlines()[0].split() == ["build", measure().hex()]
    for one, other in zip(sorted(laid_out.rglob("*")), sorted(again.rglob("*")), strict=True):
        assert one.relative_to(laid_out) == other.relative_to(again)
        assert (one.stat().st_mode, one.stat().st_mtime) == (other.stat().st_mode, other.stat().st_mtime)


def test_enclave_root_has_no_more_of_ours_than_is_measured(laid_out: Path) -> None:
    ours = {path.relative_to(laid_out).as_posix() for path in (laid_out / "oracle").rglob("*") if path.is_file()}
    assert not {name for name in ours if name.startswith(("oracle/chain", "oracle/jobs", "oracle/store", "oracle/cli"))}
    assert measure(laid_out / "oracle") == measure()


@pytest.mark.parametrize("recipe", sorted(commands()))
def test_recipe_command_runs_the_locked_enclave_from_what_is_laid_out(
    laid_out: Path, socket_path: Path, recipe: str
) -> None:
    """With the platform replaced by the simulated one, and the address by a socket."""
    command = [getattr(sys, "_base_executable", sys.executable), *commands()[recipe][1:]]
    command[command.index("--listen") : command.index("--listen") + 2] = ["--socket", str(socket_path)]
    command[command.index("--quoter") + 1] = "simulated"
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(laid_out), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
    running = EnclaveProcess(process, socket_path)
    host = Host(socket_path)
    me = host.ask(Describe())
    assert isinstance(me, Description)
    assert me.measurement == simulated_measurement(measure())
    assert isinstance(host.ask(host.order(b"function main(input) { return input }", b"x")), ReceiptReply)
    running.stop()
    assert process.stderr is not None
    assert '"lockdown": "no_new_privs,landlock,seccomp"' in process.stderr.read()


@pytest.mark.parametrize("recipe", sorted(commands()))
def test_recipe_command_names_its_hardware_and_keeps_the_lock(recipe: str) -> None:
    command = commands()[recipe]
    assert command[command.index("--quoter") + 1] == recipe
    assert recipe in HARDWARE
    assert "--no-lockdown" not in command


def test_gramine_manifest_is_of_a_production_enclave() -> None:
    sgx = manifest()["sgx"]
    assert (sgx["debug"], sgx["remote_attestation"]) == (False, "dcap")
    text = MANIFEST.read_text()
    assert "insecure" not in text
    assert "allowed_files" not in text


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_dockerfile_takes_its_base_image_from_outside_and_checks_the_manifest(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == ["${PYTHON_IMAGE}"]
    assert "sha256sum --quiet --check MANIFEST" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", sorted(DEPLOY.rglob("*.service")), ids=lambda path: path.name)
def test_systemd_unit_is_understood(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if unit.stem.partition("@")[0] in line]
    assert not [line for line in complaints if "is not executable: No such file" not in line]


def test_locked_takes_a_package_and_what_it_requires() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    from enclave_root import locked  # noqa: PLC0415  # a script, not a module of ours

    lock = (
        "a==1 \\\n    --hash=sha256:0\n    # via\n    #   b\n    #   c\nb==2\n    # via adyton (pyproject.toml)\nc==3\n"
    )
    assert re.findall(r"^\w+", locked(lock, ("b",)), re.MULTILINE) == ["a", "b"]
    assert re.findall(r"^\w+", locked(lock, ("a",)), re.MULTILINE) == ["a"]
    with pytest.raises(SystemExit, match="missing is not in"):
        locked(lock, ("missing",))
