"""
JavaScript programs: QuickJS-NG compiled to WebAssembly is just one more guest of the sandbox.

Two snapshots make a fresh, isolated machine cheap. The engine with its prelude is baked into the module (`build`),
mapped copy-on-write. A program's top level is evaluated once, in a guest of its own under the program's own limits,
and kept as the pages it changed (`Delta`), which are laid over a fresh guest for every job. Fuel counts from the call
of `main`, after that, so it is the same whether the delta was at hand or made anew, in this process or in another.

The host enters through two functions that the prelude returned, and is called back through one import,
`env.host_call`, whose functions only the prelude holds. Handles are addresses of JSValues; QuickJS checks types,
`Guest` checks addresses.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import wasmtime

from oracle.crypto.hashing import keccak256
from oracle.enclave.job import COPY_FUEL_PER_BYTE, HASH_FUEL_PER_BYTE, HOST_CALL_FUEL, Job
from oracle.enclave.outcome import Result, StoppedError
from oracle.enclave.sandbox import PAGE_BYTES, Guest, Sandbox
from oracle.enclave.wasi import define_wasi
from oracle.types.program import Limits
from oracle.types.receipt import Outcome

HOST_FUNCTIONS: Final = ("log", "blob", "take", "keccak256", "encode", "decode", "finish", "fail")
UNDEFINED: Final = 3 << 32  # JSValues on wasm32: tag in the high word, payload in the low one
EXCEPTION: Final = 6 << 32
MAX_STACK_BYTES: Final = 960 << 10  # of the engine's 1 MiB
MIN_MEMORY_BYTES: Final = 4 << 20
MAX_CODE_BYTES: Final = 4 << 20
REACTION_FUEL: Final = 8_000  # the host takes part in every promise reaction
_DELTA_PAGE_BYTES = 4_096
_FAILED_FOR_MEMORY = 1
_THREW_NULL = 2  # by the program, or by an engine that has no room for an error
_TEXT_TAGS = (0xFFFF_FFF9, 0xFFFF_FFFA)  # string, rope
_OBJECT_TAG = 0xFFFF_FFFF
_LONE_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where things are in the snapshot's memory."""

    context: int
    runtime: int
    prepare: int  # JSValue of the prelude's function
    start: int  # JSValue of the prelude's function
    scratch: int  # of SCRATCH_BYTES


SCRATCH_BYTES: Final = 8_192
_ARGUMENTS_AT = SCRATCH_BYTES - 64
_SIZE_AT = SCRATCH_BYTES - 16


@dataclass(frozen=True, slots=True)
class Delta:
    """What a program's top level changed in the memory of the snapshot."""

    memory_bytes: int
    runs: tuple[tuple[int, bytes], ...]

    @classmethod
    def between(cls, base: bytes, image: bytes) -> Delta:
        """The pages of `image` that differ from `base`."""
        runs: list[tuple[int, bytearray]] = []
        base = base.ljust(len(image), b"\0")
        for at in range(0, len(image), _DELTA_PAGE_BYTES):
            page = image[at : at + _DELTA_PAGE_BYTES]
            if page != base[at : at + _DELTA_PAGE_BYTES]:
                if runs and runs[-1][0] + len(runs[-1][1]) == at:
                    runs[-1][1].extend(page)
                else:
                    runs.append((at, bytearray(page)))
        return cls(len(image), tuple((at, bytes(run)) for at, run in runs))

    @property
    def size(self) -> int:
        """Bytes kept."""
        return sum(len(run) for _, run in self.runs)


class JavaScript:
    """The engine. `prepare` a program once, `run` it as often as it is asked for."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module, addresses: Addresses) -> None:
        self._sandbox = sandbox(engine, self._host_call)
        self._module = self._sandbox.linker.instantiate_pre(module)
        self._at = addresses
        self._handlers: dict[bytes, Callable[..., int]] = {
            name.encode(): getattr(self, f"_host_{name}") for name in HOST_FUNCTIONS
        }
        with Guest(self._sandbox, self._module, MIN_MEMORY_BYTES) as guest:
            self._base = guest.read(0, guest.memory_size)

    def instantiate(self) -> None:
        """Make a guest and drop it; what every job pays before it begins."""
        with Guest(self._sandbox, self._module, MIN_MEMORY_BYTES):
            pass

    # -- the two phases ------------------------------------------------------------------------------------------------

    def prepare(self, code: bytes, limits: Limits) -> Delta:
        """
        Evaluate a program's top level.

        Raises:
            StoppedError: InvalidProgram with the reason; TimedOut or Killed if it was not the program's doing for sure.
        """
        if limits.memory_bytes < MIN_MEMORY_BYTES:
            raise StoppedError(Outcome.INVALID_PROGRAM, f"JavaScript needs memory_bytes of at least {MIN_MEMORY_BYTES}")
        if len(code) > MAX_CODE_BYTES:
            raise StoppedError(Outcome.INVALID_PROGRAM, f"the source is larger than {MAX_CODE_BYTES} bytes")
        try:
            source = code.decode().encode() + b"\0"
        except UnicodeDecodeError as error:
            raise StoppedError(Outcome.INVALID_PROGRAM, "the source is not UTF-8") from error
        job = Job(limits, frozenset())
        with Guest(self._sandbox, self._module, limits.memory_bytes, job) as guest:
            guest.fuel = limits.fuel
            job.start_clock(guest)
            try:
                self._evaluate(guest, source, min(limits.stack_bytes, MAX_STACK_BYTES))
            except StoppedError as error:
                if not error.outcome.is_deterministic:
                    raise
                raise StoppedError(Outcome.INVALID_PROGRAM, error.reason) from error
            return Delta.between(self._base, guest.read(0, guest.memory_size))

    def run(self, program: Delta, job: Job, fuel: int) -> Result:
        """Call `main` in a fresh guest with at most `fuel`."""
        with Guest(self._sandbox, self._module, job.limits.memory_bytes, job) as guest:
            guest.grow_to(program.memory_bytes)
            guest.write_all(program.runs)
            guest.fuel = fuel
            job.start_clock(guest)
            try:
                self._main(guest, job)
            except StoppedError as error:
                return Result.stopped(error, fuel - guest.fuel, tuple(job.logs))
            return Result(Outcome.COMPLETED, bytes(job.output), fuel - guest.fuel, tuple(job.logs))

    def _evaluate(self, guest: Guest, source: bytes, stack_bytes: int) -> None:
        at = self._at
        guest.call("JS_SetMaxStackSize", at.runtime, stack_bytes)
        address = guest.call("wasm_malloc", len(source)) & 0xFFFF_FFFF
        if not address:
            raise StoppedError(Outcome.INVALID_PROGRAM, "out of memory")
        guest.write(address, source)
        guest.write(at.scratch, b"program.js\0")
        self._check(guest, guest.call("JS_Eval", at.context, address, len(source) - 1, at.scratch, 0))
        guest.call("wasm_free", address)
        self._drain(guest, None)
        self._check(guest, guest.call("JS_Call", at.context, at.prepare, UNDEFINED, 0, 0))

    def _main(self, guest: Guest, job: Job) -> None:
        at, facts = self._at, job.facts().encode()
        guest.write(at.scratch, facts)
        text = guest.call("JS_NewStringLen", at.context, at.scratch, len(facts))
        data = self._new_array(guest, job.input)
        guest.write(at.scratch + _ARGUMENTS_AT, struct.pack("<QQ", text, data))
        value = guest.call("JS_Call", at.context, at.start, UNDEFINED, 2, at.scratch + _ARGUMENTS_AT)
        self._check(guest, value)
        if value >> 32 in _TEXT_TAGS:
            job.write(_utf8(self._text(guest, value, is_last=True)))
        elif value >> 32 == _OBJECT_TAG:
            guest.write(at.scratch, struct.pack("<Q", value))
            array = self._array(guest, at.scratch)
            if array is None:  # a thing with the prototype of a Uint8Array
                raise StoppedError(Outcome.TRAPPED, "main returned object, not a Uint8Array")
            job.write(guest.read(*array))
        else:
            self._drain(guest, job)
            if not job.finished:
                raise StoppedError(Outcome.TRAPPED, "the promise that main returned never settles")

    def _new_array(self, guest: Guest, data: bytes) -> int:
        """The JSValue of a new Uint8Array with a copy of `data`."""
        at = self._at
        if len(data) <= SCRATCH_BYTES:
            guest.write(at.scratch, data)
            return guest.call("JS_NewUint8ArrayCopy", at.context, at.scratch, len(data))
        address = guest.call("wasm_malloc", len(data)) & 0xFFFF_FFFF
        if not address:
            raise StoppedError(Outcome.OUT_OF_MEMORY, "out of memory")
        guest.write(address, data)
        value = guest.call("JS_NewUint8ArrayCopy", at.context, address, len(data))
        guest.call("wasm_free", address)
        return value

    def _drain(self, guest: Guest, job: Job | None) -> None:
        """Run pending promise reactions until there are none, or `job` has its output."""
        at = self._at
        while not (job and job.finished) and guest.call("JS_IsJobPending", at.runtime) & 0xFFFF_FFFF:
            guest.charge(REACTION_FUEL)
            guest.call("JS_ExecutePendingJob", at.runtime, at.scratch)  # a reaction's exception rejects its promise

    def _check(self, guest: Guest, value: int) -> None:
        """Raise what the guest threw, if it did."""
        if value & ~0xFFFF_FFFF != EXCEPTION:
            return
        error = guest.call("JS_GetException", self._at.context)
        text = self._text(guest, error)
        if text is None or text == b"InternalError: out of memory":
            raise StoppedError(Outcome.OUT_OF_MEMORY, "out of memory")
        raise StoppedError(Outcome.TRAPPED, text.decode("utf-8", "replace"))

    # -- values --------------------------------------------------------------------------------------------------------

    def _text(self, guest: Guest, value: int, *, is_last: bool = False) -> bytes | None:
        """A JSValue as WTF-8, converted if it is no string; None if converting threw. The last need not be freed."""
        size_at = self._at.scratch + _SIZE_AT
        address = guest.call("JS_ToCStringLen2", self._at.context, size_at, value, 0) & 0xFFFF_FFFF
        if not address:
            return None
        (size,) = struct.unpack("<I", guest.read(size_at, 4))
        guest.charge(COPY_FUEL_PER_BYTE * size)
        text = guest.read(address, size)
        if not is_last:
            guest.call("JS_FreeCString", self._at.context, address)
        return text

    def _array(self, guest: Guest, handle: int) -> tuple[int, int] | None:
        """Address and size of a Uint8Array's bytes; None, with an exception pending in the guest, if it is none."""
        (value,) = struct.unpack("<Q", guest.read(handle, 8))
        size_at = self._at.scratch + _SIZE_AT
        guest.write(size_at, bytes(4))
        address = guest.call("JS_GetUint8Array", self._at.context, size_at, value) & 0xFFFF_FFFF
        if not address and guest.call("JS_HasException", self._at.context) & 0xFFFF_FFFF:
            return None
        (size,) = struct.unpack("<I", guest.read(size_at, 4))
        guest.charge(COPY_FUEL_PER_BYTE * size)
        return address, size

    @staticmethod
    def _undefined(guest: Guest) -> int:
        return guest.call("qjs_get_undefined")

    # -- host functions: handles in, a handle out; 0 makes the guest throw its pending exception -----------------------

    def _host_call(self, guest: Guest, name: int, size: int, _this: int, count: int, arguments: int) -> int:
        guest.charge(HOST_CALL_FUEL)
        handler = self._handlers[guest.read(name, size)]
        return handler(guest, guest.job, *struct.unpack(f"<{count}I", guest.read(arguments, 4 * count)))

    def _host_log(self, guest: Guest, job: Job, line: int) -> int:
        text = self._text(guest, struct.unpack("<Q", guest.read(line, 8))[0])
        if text is None:
            return 0
        job.log(text)
        return self._undefined(guest)

    def _host_blob(self, guest: Guest, job: Job, handle: int) -> int:
        """Stage the blob and return its size; `take` moves it into an array of the program's own."""
        array = self._array(guest, handle)
        if array is None:
            return 0
        job.staged = job.blob(guest, guest.read(*array))
        (bits,) = struct.unpack("<Q", struct.pack("<d", len(job.staged)))
        return guest.call("qjs_new_number", bits)

    def _host_take(self, guest: Guest, job: Job, handle: int) -> int:
        array = self._array(guest, handle)
        if array is None:
            return 0
        address, size = array
        data, job.staged = job.staged, b""
        guest.write(address, data[:size])
        return self._undefined(guest)

    def _host_keccak256(self, guest: Guest, _job: Job, handle: int) -> int:
        array = self._array(guest, handle)
        if array is None:
            return 0
        guest.charge(HASH_FUEL_PER_BYTE * array[1])
        guest.write(self._at.scratch, keccak256(guest.read(*array)))
        return guest.call("qjs_new_uint8_array", self._at.scratch, 32)

    def _host_encode(self, guest: Guest, _job: Job, handle: int) -> int:
        """A string as UTF-8 bytes, lone surrogates replaced as the web does."""
        text = self._text(guest, struct.unpack("<Q", guest.read(handle, 8))[0])
        if text is None:
            return 0
        return self._new(guest, "qjs_new_uint8_array", _utf8(text))

    def _host_decode(self, guest: Guest, _job: Job, handle: int, fatal: int) -> int:
        """UTF-8 bytes as a string; undefined if they are not and `fatal` is set."""
        array = self._array(guest, handle)
        if array is None:
            return 0
        data = guest.read(*array)
        try:
            data.decode()
        except UnicodeDecodeError:
            if struct.unpack("<Q", guest.read(fatal, 8))[0] & 0xFFFF_FFFF:
                return self._undefined(guest)
            data = data.decode("utf-8", "replace").encode()
        return self._new(guest, "qjs_new_string", data)

    def _host_finish(self, guest: Guest, job: Job, handle: int) -> int:
        array = self._array(guest, handle)
        if array is None:
            return 0
        if not job.finished:
            job.write(guest.read(*array))
            job.finished = True
        return self._undefined(guest)

    def _host_fail(self, guest: Guest, job: Job, cause: int, reason: int) -> int:
        code = struct.unpack("<Q", guest.read(cause, 8))[0] & 0xFFFF_FFFF
        is_full = guest.memory_size + PAGE_BYTES > job.limits.memory_bytes
        if code == _FAILED_FOR_MEMORY or (code == _THREW_NULL and is_full):
            raise StoppedError(Outcome.OUT_OF_MEMORY, "out of memory")
        text = self._text(guest, struct.unpack("<Q", guest.read(reason, 8))[0])
        raise StoppedError(Outcome.TRAPPED, (text or b"out of memory").decode("utf-8", "replace"))

    def _new(self, guest: Guest, constructor: str, data: bytes) -> int:
        """A new value in the guest made of `data`; out of memory ends the job."""
        if len(data) < SCRATCH_BYTES:
            guest.write(self._at.scratch, data + b"\0")
            return guest.call(constructor, self._at.scratch, len(data))
        address = guest.call("wasm_malloc", len(data) + 1) & 0xFFFF_FFFF
        if not address:
            raise StoppedError(Outcome.OUT_OF_MEMORY, "out of memory")
        guest.write(address, data + b"\0")
        handle = guest.call(constructor, address, len(data))
        guest.call("wasm_free", address)
        return handle


def _utf8(text: bytes | None) -> bytes:
    """The engine's WTF-8 as UTF-8: lone surrogates become replacement characters, as on the web."""
    if text is None:
        raise StoppedError(Outcome.OUT_OF_MEMORY, "out of memory")
    return _LONE_SURROGATE.sub(b"\xef\xbf\xbd", text) if b"\xed" in text else text


def sandbox(engine: wasmtime.Engine, host_call: Callable[..., int]) -> Sandbox:
    """What QuickJS imports. No modules, no time zone, no files."""
    guests = Sandbox(engine)
    guests.define("env", "host_call", "iiiii>i", host_call)
    guests.define("env", "host_get_timezone_offset", "ii>i", lambda *_: 0)
    guests.define("env", "host_interrupt", ">i", lambda *_: 0)
    guests.define("env", "host_promise_rejection", "iii>", lambda *_: None)
    guests.define("env", "host_module_normalize", "ii>i", lambda *_: 0)
    guests.define("env", "host_module_load", "ii>i", lambda *_: 0)
    define_wasi(guests)
    return guests
