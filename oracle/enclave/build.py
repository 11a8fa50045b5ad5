"""
Build the JavaScript engine: `python -m oracle.enclave.build [--quickjs PATH] [--out DIR]`.

Boots QuickJS, evaluates the prelude, bakes the memory into the module and compiles it for every processor of this
kind. The result depends on the inputs alone, byte for byte, so its hash says what runs in an enclave. Takes a few
seconds; never runs inside an enclave.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import struct
import sys
from dataclasses import fields
from pathlib import Path
from typing import Final, NoReturn

import wasmtime

from oracle.enclave.engine_files import ENGINE_DIR, NATIVE, RECORD, SNAPSHOT, EngineRecord
from oracle.enclave.javascript import THREW, Addresses, sandbox
from oracle.enclave.job import Job
from oracle.enclave.sandbox import Guest, configuration
from oracle.enclave.wasm_binary import with_memory_image
from oracle.errors import ConfigurationError
from oracle.types.program import Limits

QUICKJS_SHA256: Final = "0bb312292ad81e0e8797288026b1434e08368e23ddf987c3e07c0e926de9dfbb"
QUICKJS: Final = Path(__file__).parents[2] / "build" / "quickjs" / "quickjs.wasm"
PRELUDE_DIR: Final = Path(__file__).parent / "prelude"
_SOURCES = ("prelude.js", "abi.js", "fetch.js")
_BOOT_MEMORY_BYTES = 16 << 20
_PRELUDE_STACK_BYTES = 256 << 10
_COLLECT_ABOVE_BYTES = 1 << 20  # a small job ends before its first garbage collection, which would touch every page
_EXPORTS = frozenset(
    {
        "memory",
        "allocate",
        "evaluate",
        "find_main",
        "release",
        "run",
        "JS_ExecutePendingJob",
        "JS_FreeCString",
        "JS_GetUint8Array",
        "JS_HasException",
        "JS_IsJobPending",
        "JS_NewStringLen",
        "JS_NewUint8ArrayCopy",
        "JS_ToCStringLen2",
    }
)


def _no_host(*_: object) -> NoReturn:
    raise ConfigurationError("the prelude calls the host while it is evaluated")


def _place(guest: Guest, data: bytes) -> int:
    """Where a copy of `data` with a final zero is."""
    at = guest.call("allocate", len(data) + 1) & 0xFFFF_FFFF
    guest.write(at, data + b"\0")
    return at


def _booted(guest: Guest) -> Addresses:
    """Start QuickJS."""
    guest.call("_initialize")
    if guest.call("boot", _PRELUDE_STACK_BYTES) & 0xFFFF_FFFF == THREW:
        raise ConfigurationError("QuickJS does not start")
    return Addresses(**{field.name: guest.call(f"{field.name}_address") & 0xFFFF_FFFF for field in fields(Addresses)})


def _left(guest: Guest, at: Addresses, kind: int) -> bytes:
    """What a function left; a text that it threw stops the build."""
    address, size = struct.unpack("<II", guest.read(at.result, 8))
    data = guest.read(address, size)
    if kind & 0xFFFF_FFFF == THREW:
        raise ConfigurationError(f"the prelude does not run: {data.decode()}")
    return data


def bake(quickjs: bytes, prelude: dict[str, bytes]) -> tuple[bytes, Addresses]:
    """
    The snapshot as a module, and where things are in it.

    One instance compiles the prelude, another runs the bytecode: so the snapshot holds nothing that the parser left,
    and every job has less memory to reset.
    """
    engine = wasmtime.Engine(configuration())
    guests = sandbox(engine, _no_host)
    module = guests.linker.instantiate_pre(wasmtime.Module(engine, quickjs))
    scripts = []
    with Guest(guests, module, _BOOT_MEMORY_BYTES, Job(Limits(), frozenset())) as guest:
        at = _booted(guest)
        for name in _SOURCES:
            kind = guest.call("compile", _place(guest, prelude[name]), len(prelude[name]), _place(guest, name.encode()))
            scripts.append(_left(guest, at, kind))
    with Guest(guests, module, _BOOT_MEMORY_BYTES, Job(Limits(), frozenset())) as guest:
        at = _booted(guest)
        for code in scripts:
            place = _place(guest, code)
            _left(guest, at, guest.call("install", place, len(code)))
            guest.call("release", place)
        guest.call("settle", _COLLECT_ABOVE_BYTES)
        image = guest.read(0, guest.memory_size)
    return with_memory_image(quickjs, image, _EXPORTS), at


def build(quickjs_file: Path = QUICKJS, out: Path = ENGINE_DIR) -> EngineRecord:
    """
    Write the engine's files into `out`.

    Raises:
        ConfigurationError: `quickjs_file` is missing or is not the locked one.
    """
    try:
        quickjs = quickjs_file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"no QuickJS at {quickjs_file} ({error.strerror}): run `python scripts/build_quickjs.py`"
        ) from error
    found = hashlib.sha256(quickjs).hexdigest()
    if found != QUICKJS_SHA256:
        raise ConfigurationError(f"{quickjs_file} is not the locked QuickJS: sha256 {found}, expected {QUICKJS_SHA256}")
    prelude = {name: (PRELUDE_DIR / name).read_bytes() for name in _SOURCES}
    snapshot, addresses = bake(quickjs, prelude)
    target = f"{platform.machine()}-unknown-linux-gnu"
    native = bytes(wasmtime.Module(wasmtime.Engine(configuration(target=target)), snapshot).serialize())
    record = EngineRecord(
        quickjs_sha256=found,
        prelude_sha256=hashlib.sha256(b"".join(prelude[name] for name in _SOURCES)).hexdigest(),
        snapshot_sha256=hashlib.sha256(snapshot).hexdigest(),
        native_sha256=hashlib.sha256(native).hexdigest(),
        target=target,
        addresses=addresses,
    )
    out.mkdir(parents=True, exist_ok=True)
    for name, data in ((SNAPSHOT, snapshot), (NATIVE, native), (RECORD, record.encode())):
        (out / name).write_bytes(data)
    return record


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m oracle.enclave.build", description="Build the JavaScript engine.")
    parser.add_argument("--quickjs", type=Path, default=QUICKJS, help="quickjs.wasm of scripts/build_quickjs.py")
    parser.add_argument("--out", type=Path, default=ENGINE_DIR, help="where the engine's files go")
    arguments = parser.parse_args()
    try:
        record = build(arguments.quickjs, arguments.out)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"snapshot {record.snapshot_sha256}\nnative   {record.native_sha256} for {record.target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
