"""The engine is built the same everywhere, and loaded only as it was built."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import wasmtime

from oracle.enclave import build, engine_files
from oracle.enclave.sandbox import configuration
from oracle.errors import ConfigurationError


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("engine")
    build.build(out=out)
    return out


@pytest.fixture
def directory(built: Path, tmp_path: Path) -> Path:
    for file in built.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def engine() -> wasmtime.Engine:
    return wasmtime.Engine(configuration(max_memory_bytes=64 << 20))


def test_build_in_another_process_with_another_hash_seed_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [sys.executable, "-m", "oracle.enclave.build", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=Path(build.__file__).parents[2])
    for file in built.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_build_installed_engine_is_the_current_one(built: Path) -> None:
    record = engine_files.RECORD
    assert (engine_files.ENGINE_DIR / record).read_bytes() == (built / record).read_bytes()


def test_build_other_quickjs_is_refused(tmp_path: Path) -> None:
    changed = tmp_path / "quickjs.wasm"
    changed.write_bytes(build.QUICKJS.read_bytes() + b"\0")
    with pytest.raises(ConfigurationError, match="not the locked QuickJS"):
        build.build(changed, tmp_path / "out")
    with pytest.raises(ConfigurationError, match=r"build_quickjs\.py"):
        build.build(tmp_path / "missing", tmp_path / "out")


def test_build_prelude_that_throws_is_refused(built: Path) -> None:
    with pytest.raises(ConfigurationError, match="nope is not defined"):
        build.bake(build.QUICKJS.read_bytes(), dict.fromkeys(("abi.js", "fetch.js"), b"") | {"prelude.js": b"nope"})


def test_load_as_built_uses_the_native_code(directory: Path, engine: wasmtime.Engine) -> None:
    _, _, was_recorded = engine_files.load_javascript(engine, directory)
    assert was_recorded


def test_load_native_code_with_one_bit_flipped_is_not_used(directory: Path, engine: wasmtime.Engine) -> None:
    data = bytearray((directory / engine_files.NATIVE).read_bytes())
    data[len(data) // 2] ^= 1
    (directory / engine_files.NATIVE).write_bytes(data)
    _, _, was_recorded = engine_files.load_javascript(engine, directory)
    assert not was_recorded


def test_load_native_code_of_another_wasmtime_is_made_again(directory: Path, engine: wasmtime.Engine) -> None:
    record = engine_files.EngineRecord.parse((directory / engine_files.RECORD).read_bytes())
    other = bytes(wasmtime.Module(wasmtime.Engine(), "(module)").serialize())  # other settings
    (directory / engine_files.NATIVE).write_bytes(other)
    changed = replace(record, native_sha256=hashlib.sha256(other).hexdigest())
    (directory / engine_files.RECORD).write_bytes(changed.encode())
    _, _, was_recorded = engine_files.load_javascript(engine, directory)
    assert not was_recorded


def test_load_changed_snapshot_is_refused(directory: Path, engine: wasmtime.Engine) -> None:
    data = (directory / engine_files.SNAPSHOT).read_bytes()
    (directory / engine_files.SNAPSHOT).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ConfigurationError, match="was changed"):
        engine_files.load_javascript(engine, directory)


@pytest.mark.parametrize("name", [engine_files.RECORD, engine_files.SNAPSHOT, engine_files.NATIVE])
def test_load_missing_file_says_how_to_build(directory: Path, engine: wasmtime.Engine, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(ConfigurationError, match=r"oracle\.enclave\.build"):
        engine_files.load_javascript(engine, directory)
