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
from pathlib import Path
from typing import Final, NoReturn

import wasmtime

from oracle.enclave.engine_files import ENGINE_DIR, NATIVE, RECORD, SNAPSHOT, EngineRecord
from oracle.enclave.javascript import EXCEPTION, HOST_FUNCTIONS, SCRATCH_BYTES, UNDEFINED, Addresses, sandbox
from oracle.enclave.job import Job
from oracle.enclave.sandbox import Guest, configuration
from oracle.enclave.wasm_binary import with_memory_image
from oracle.errors import ConfigurationError
from oracle.types.program import Limits

QUICKJS_SHA256: Final = (
    "d4c9375f2b1ca4dc95f72c8aa2982a7a9951ac8011490d79c6582df732b4bbd9"  # npm quickjs-wasi 3.6.2, QuickJS-NG 0.17
)
QUICKJS: Final = Path(__file__).parents[2] / "node_modules" / "quickjs-wasi" / "quickjs.wasm"
PRELUDE_DIR: Final = Path(__file__).parent / "prelude"
_SOURCES = ("prelude.js", "abi.js")
_BOOT_MEMORY_BYTES = 16 << 20
_PRELUDE_STACK_BYTES = 256 << 10
_COLLECT_ABOVE_BYTES = 1 << 20  # a small job ends before its first garbage collection, which would touch every page
_EXPORTS = frozenset(
    {
        "memory",
        "wasm_malloc",
        "wasm_free",
        "JS_Call",
        "JS_Eval",
        "JS_ExecutePendingJob",
        "JS_FreeCString",
        "JS_GetException",
        "JS_GetUint8Array",
        "JS_HasException",
        "JS_IsJobPending",
        "JS_NewStringLen",
        "JS_NewUint8ArrayCopy",
        "JS_SetMaxStackSize",
        "JS_ToCStringLen2",
        "qjs_get_undefined",
        "qjs_new_number",
        "qjs_new_string",
        "qjs_new_uint8_array",
    }
)


class _Boot:
    """A QuickJS that is being set up; it may call nothing of the host."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        guest.call("_initialize")
        if guest.call("qjs_init") & 0xFFFF_FFFF:
            raise ConfigurationError("QuickJS does not start")
        self.context = guest.call("qjs_get_context_ptr") & 0xFFFF_FFFF
        self.runtime = guest.call("qjs_get_runtime_ptr") & 0xFFFF_FFFF
        guest.call("qjs_set_max_stack_size", _PRELUDE_STACK_BYTES)

    def address(self, data: bytes) -> int:
        """Where a copy of `data` with a final zero is."""
        at = self.guest.call("wasm_malloc", len(data) + 1) & 0xFFFF_FFFF
        self.guest.write(at, data + b"\0")
        return at

    def value(self, handle: int) -> int:
        """The JSValue behind a handle."""
        value: int = struct.unpack("<Q", self.guest.read(handle & 0xFFFF_FFFF, 8))[0]
        return value

    def checked(self, value: int) -> int:
        """`value`, unless the guest threw."""
        if value & ~0xFFFF_FFFF == EXCEPTION:
            size = self.address(bytes(4))
            error = self.guest.call("JS_GetException", self.context)
            text = self.guest.call("JS_ToCStringLen2", self.context, size, error, 0) & 0xFFFF_FFFF
            (length,) = struct.unpack("<I", self.guest.read(size, 4))
            raise ConfigurationError(f"the prelude does not run: {self.guest.read(text, length).decode()}")
        return value

    def call(self, function: int, *arguments: int) -> int:
        """Call a function with JSValues."""
        at = self.address(struct.pack(f"<{len(arguments)}Q", *arguments))
        return self.checked(self.guest.call("JS_Call", self.context, function, UNDEFINED, len(arguments), at))

    def evaluate(self, source: bytes, name: str) -> int:
        """Evaluate a script; its value."""
        code, file = self.address(source), self.address(name.encode())
        return self.checked(self.guest.call("JS_Eval", self.context, code, len(source), file, 0))

    def host(self) -> int:
        """An object with the host's functions."""
        guest, host = self.guest, self.guest.call("qjs_new_object")
        for name in HOST_FUNCTIONS:
            text = self.address(name.encode())
            guest.call("qjs_set_prop_string", host, text, guest.call("qjs_new_host_function", text, len(name), 0))
        return self.value(host)


def _no_host(*_: object) -> NoReturn:
    raise ConfigurationError("the prelude calls the host while it is evaluated")


def bake(quickjs: bytes, prelude: dict[str, bytes]) -> tuple[bytes, Addresses]:
    """The snapshot as a module, and where things are in it."""
    engine = wasmtime.Engine(configuration())
    guests = sandbox(engine, _no_host)
    module = guests.linker.instantiate_pre(wasmtime.Module(engine, quickjs))
    with Guest(guests, module, _BOOT_MEMORY_BYTES, Job(Limits(), frozenset())) as guest:
        boot = _Boot(guest)
        if boot.value(guest.call("qjs_get_undefined")) != UNDEFINED:
            raise ConfigurationError("this QuickJS has another layout of values")
        world = boot.value(guest.call("qjs_get_global"))
        entries = boot.call(boot.evaluate(prelude["prelude.js"], "prelude.js"), boot.host(), world)
        boot.call(boot.evaluate(prelude["abi.js"], "abi.js"), world)
        prepare, start = (guest.call("JS_GetPropertyUint32", boot.context, entries, index) for index in (0, 1))
        scratch = guest.call("wasm_malloc", SCRATCH_BYTES) & 0xFFFF_FFFF
        guest.call("qjs_run_gc")
        guest.call("qjs_set_gc_threshold", _COLLECT_ABOVE_BYTES)
        image = guest.read(0, guest.memory_size)
    addresses = Addresses(boot.context, boot.runtime, prepare, start, scratch)
    return with_memory_image(quickjs, image, _EXPORTS), addresses


def build(quickjs_file: Path = QUICKJS, out: Path = ENGINE_DIR) -> EngineRecord:
    """
    Write the engine's files into `out`.

    Raises:
        ConfigurationError: `quickjs_file` is missing or is not the locked one.
    """
    try:
        quickjs = quickjs_file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"no QuickJS at {quickjs_file} ({error.strerror}): run `npm ci`") from error
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
    parser.add_argument("--quickjs", type=Path, default=QUICKJS, help="quickjs.wasm of npm quickjs-wasi")
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
