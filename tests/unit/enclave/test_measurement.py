"""The measurement covers all code that an enclave loads, and nothing else may be loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oracle.enclave.measurement import PACKAGE, measure, measured_files
from oracle.enclave.web.roots import ROOTS, tls_context
from oracle.errors import ConfigurationError
from tests.web import AUTHORITY

FORBIDDEN = {"celery", "kombu", "web3", "eth_account", "eth_abi", "sqlalchemy", "httpx", "requests", "click", "rich"}
FORBIDDEN |= {"http.server", "aiohttp", "uvicorn", "websockets", "redis", "asyncio"}


def loaded_modules() -> set[str]:
    """What importing the enclave loads into a clean interpreter."""
    code = "import sys, oracle.enclave.main, oracle.enclave.compiler; print(*sys.modules)"
    root = PACKAGE.parent
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root).stdout
    return set(output.split())


def test_import_of_the_enclave_loads_no_forbidden_package() -> None:
    assert not loaded_modules() & FORBIDDEN


def test_import_of_the_enclave_loads_only_allowed_third_parties() -> None:
    allowed = {
        "oracle",
        "wasmtime",
        "cbor2",
        "certifi",
        "h11",
        "_cbor2",
        "coincurve",
        "sha3",
        "cryptography",
        "_cffi_backend",
        "cffi",
        "pycparser",
    }
    top = {name.partition(".")[0] for name in loaded_modules()}
    foreign = {name for name in top if name not in sys.stdlib_module_names and not name.startswith("_")}
    assert foreign <= allowed | {"sitecustomize", "usercustomize", "distutils-precedence"}


def test_measured_files_contain_every_loaded_module_of_ours() -> None:
    names = {name for name in loaded_modules() if name == "oracle" or name.startswith("oracle.")}
    files = {
        f"{name.replace('.', '/')}.py".removeprefix("oracle/")
        if (PACKAGE.parent / f"{name.replace('.', '/')}.py").is_file()
        else f"{name.replace('.', '/')}/__init__.py".removeprefix("oracle/")
        for name in names
    }
    assert files <= measured_files().keys()
    assert {"enclave/main.py", "enclave/prelude/prelude.js", "enclave/engine/engine.json", "requirements.lock"} <= (
        measured_files().keys()
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package, as in a checkout."""
    shutil.copytree(PACKAGE, tmp_path / "oracle", ignore=shutil.ignore_patterns("__pycache__", "artifacts"))
    shutil.copy(measured_files()["requirements.lock"], tmp_path / "requirements.lock")
    return tmp_path / "oracle"


def test_measure_copy_elsewhere_is_the_same(copy: Path) -> None:
    assert measure(copy) == measure()


def test_measure_lock_inside_the_package_as_in_a_wheel_is_the_same(copy: Path) -> None:
    shutil.move(copy.parent / "requirements.lock", copy / "enclave" / "requirements.lock")
    assert measure(copy) == measure()


@pytest.mark.parametrize("name", sorted(measured_files()))
def test_measure_one_byte_changed_in_any_file_is_another(copy: Path, name: str) -> None:
    roots = Path(shutil.copy(ROOTS, copy.parent / "roots.pem"))
    file = measured_files(copy, roots)[name]
    file.write_bytes(file.read_bytes() + b" ")
    assert measure(copy, roots) != measure()


def test_measure_other_roots_are_another(tmp_path: Path) -> None:
    assert measure(roots=Path(shutil.copy(ROOTS, tmp_path / "elsewhere.pem"))) == measure()
    assert measure(roots=AUTHORITY.roots_file()) != measure()


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff"])
def test_tls_context_file_without_roots_is_a_configuration_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "roots.pem").write_bytes(content)
    with pytest.raises(ConfigurationError):
        tls_context(tmp_path / "roots.pem")


def test_measure_added_module_is_another(copy: Path) -> None:
    (copy / "enclave" / "more.py").write_text("")
    assert measure(copy) != measure()


@pytest.mark.parametrize("name", ["enclave/engine/engine.json", "../requirements.lock"])
def test_measure_missing_file_is_a_configuration_error(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ConfigurationError):
        measure(copy)
