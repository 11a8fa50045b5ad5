"""
JavaScript programs: QuickJS-NG compiled to WebAssembly is just one more guest of the sandbox.

Two snapshots make a fresh, isolated machine cheap. The engine with its prelude is baked into the module (`build`),
mapped copy-on-write. A program's top level is evaluated once, in a guest of its own under the program's own limits,
and kept as the pages it changed (`Delta`), which are laid over a fresh guest for every job. Fuel counts from the call
of `main`, after that, so it is the same whether the delta was at hand or made anew, in this process or in another.

The host enters through the exports of `quickjs/guest.c`, once per job unless the program waits for promises, and is
called back through one import, `adyton.call`, whose functions only the prelude holds. Handles are addresses of
JSValues; QuickJS checks types, `Guest` checks addresses.
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

# Name and number of arguments, in the order of HOST_FUNCTIONS in quickjs/guest.c.
HOST_FUNCTIONS: Final = {
    "log": 1,
    "blob": 1,
    "take": 1,
    "keccak256": 1,
    "encode": 1,
    "decode": 2,
    "finish": 1,
    "fail": 2,
    "fetch": 2,
}
UNDEFINED: Final = 3 << 32  # JSValues on wasm32: tag in the high word, payload in the low one; an integer's tag is 0
EXCEPTION: Final = 6 << 32
NOTHING, TEXT, BYTES, FOREIGN, THREW = range(5)  # `enum kind` of quickjs/guest.c
MAX_STACK_BYTES: Final = 448 << 10  # of the engine's 512 KiB
MIN_MEMORY_BYTES: Final = 4 << 20
MAX_CODE_BYTES: Final = 4 << 20
REACTION_FUEL: Final = 8_000  # the host takes part in every promise reaction
_DELTA_PAGE_BYTES = 4_096
_FAILED_FOR_MEMORY = 1
_THREW_NULL = 2  # by the program, or by an engine that has no room for an error
_LONE_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where things are in the snapshot's memory."""

    context: int
    runtime: int
    scratch: int  # of SCRATCH_BYTES
    result: int  # address and size of what a function left


SCRATCH_BYTES: Final = 8_192
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
        self._handlers: tuple[tuple[Callable[..., int], int], ...] = tuple(
            (getattr(self, f"_host_{name}"), count) for name, count in HOST_FUNCTIONS.items()
        )
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
        address = guest.call("allocate", len(source)) & 0xFFFF_FFFF
        if not address:
            raise StoppedError(Outcome.INVALID_PROGRAM, "out of memory")
        guest.write(address, source)
        self._check(guest, guest.call("evaluate", address, len(source) - 1, stack_bytes))
        guest.call("release", address)
        self._drain(guest, None)
        self._check(guest, guest.call("find_main"))

    def _main(self, guest: Guest, job: Job) -> None:
        at, facts = self._at.scratch, job.facts().encode()
        data, place = job.input, at + len(facts)
        if len(facts) + len(data) <= SCRATCH_BYTES:
            guest.write(at, facts + data)
        else:
            place = guest.call("allocate", len(data)) & 0xFFFF_FFFF
            if not place:
                raise StoppedError(Outcome.OUT_OF_MEMORY, "out of memory")
            guest.write(place, data)
            guest.write(at, facts)
        kind = self._check(guest, guest.call("run", len(facts), place, len(data)))
        if kind == TEXT:
            job.write(_utf8(self._result(guest)))
        elif kind == BYTES:
            job.write(self._result(guest))
        elif kind == FOREIGN:  # a thing with the prototype of a Uint8Array
            raise StoppedError(Outcome.TRAPPED, "main returned object, not a Uint8Array")
        else:
            self._drain(guest, job)
            if not job.finished:
                raise StoppedError(Outcome.TRAPPED, "the promise that main returned never settles")

    def _drain(self, guest: Guest, job: Job | None) -> None:
        """Run pending promise reactions until there are none, or `job` has its output."""
        at = self._at
        while not (job and job.finished) and guest.call("JS_IsJobPending", at.runtime) & 0xFFFF_FFFF:
            guest.charge(REACTION_FUEL)
            guest.call("JS_ExecutePendingJob", at.runtime, at.scratch)  # a reaction's exception rejects its promise

    def _check(self, guest: Guest, kind: int) -> int:
        """The kind of what a function left; raises what the guest threw, if it did."""
        kind &= 0xFFFF_FFFF
        if kind != THREW:
            return kind
        address, _ = struct.unpack("<II", guest.read(self._at.result, 8))
        text = self._result(guest) if address else None
        if text is None or text == b"InternalError: out of memory":
            raise StoppedError(Outcome.OUT_OF_MEMORY, "out of memory")
        raise StoppedError(Outcome.TRAPPED, text.decode("utf-8", "replace"))

    def _result(self, guest: Guest) -> bytes:
        """The text (WTF-8) or bytes that a function left."""
        address, size = struct.unpack("<II", guest.read(self._at.result, 8))
        guest.charge(COPY_FUEL_PER_BYTE * size)
        return guest.read(address, size)

    # -- values --------------------------------------------------------------------------------------------------------

    def _text(self, guest: Guest, handle: int) -> bytes | None:
        """A value as WTF-8, converted if it is no string; None if converting threw."""
        (value,) = struct.unpack("<Q", guest.read(handle, 8))
        size_at = self._at.scratch + _SIZE_AT
        address = guest.call("JS_ToCStringLen2", self._at.context, size_at, value, 0) & 0xFFFF_FFFF
        if not address:
            return None
        (size,) = struct.unpack("<I", guest.read(size_at, 4))
        guest.charge(COPY_FUEL_PER_BYTE * size)
        text = guest.read(address, size)
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

    # -- host functions: handles in, a JSValue out; EXCEPTION makes the guest throw its pending exception --------------

    def _host_call(self, guest: Guest, function: int, arguments: int) -> int:
        guest.charge(HOST_CALL_FUEL)
        handler, count = self._handlers[function]
        return handler(guest, guest.job, *range(arguments, arguments + 8 * count, 8))

    def _host_log(self, guest: Guest, job: Job, line: int) -> int:
        text = self._text(guest, line)
        if text is None:
            return EXCEPTION
        job.log(text)
        return UNDEFINED

    def _host_blob(self, guest: Guest, job: Job, handle: int) -> int:
        """Stage the blob and return its size; `take` moves it into an array of the program's own."""
        array = self._array(guest, handle)
        if array is None:
            return EXCEPTION
        job.staged = job.blob(guest, guest.read(*array))
        return len(job.staged)  # as a JSValue: an integer

    def _host_fetch(self, guest: Guest, job: Job, head: int, body: int) -> int:
        """The head of what came, as text; its body is staged for `take`."""
        text, array = self._text(guest, head), self._array(guest, body)
        if text is None or array is None:
            return EXCEPTION
        answer = job.fetch(guest, text, guest.read(*array))
        job.staged = answer.body
        return self._new(guest, "JS_NewStringLen", answer.head)

    def _host_take(self, guest: Guest, job: Job, handle: int) -> int:
        array = self._array(guest, handle)
        if array is None:
            return EXCEPTION
        address, size = array
        data, job.staged = job.staged, b""
        guest.write(address, data[:size])
        return UNDEFINED

    def _host_keccak256(self, guest: Guest, _job: Job, handle: int) -> int:
        array = self._array(guest, handle)
        if array is None:
            return EXCEPTION
        guest.charge(HASH_FUEL_PER_BYTE * array[1])
        return self._new(guest, "JS_NewUint8ArrayCopy", keccak256(guest.read(*array)))

    def _host_encode(self, guest: Guest, _job: Job, handle: int) -> int:
        """A string with lone surrogates as UTF-8 bytes, replaced as the web does."""
        text = self._text(guest, handle)
        if text is None:
            return EXCEPTION
        return self._new(guest, "JS_NewUint8ArrayCopy", _utf8(text))

    def _host_decode(self, guest: Guest, _job: Job, handle: int, fatal: int) -> int:
        """Bytes that are not UTF-8 as a string, or undefined if `fatal` is set."""
        array = self._array(guest, handle)
        if array is None:
            return EXCEPTION
        if struct.unpack("<Q", guest.read(fatal, 8))[0] & 0xFFFF_FFFF:
            return UNDEFINED
        return self._new(guest, "JS_NewStringLen", guest.read(*array).decode("utf-8", "replace").encode())

    def _host_finish(self, guest: Guest, job: Job, handle: int) -> int:
        array = self._array(guest, handle)
        if array is None:
            return EXCEPTION
        if not job.finished:
            job.write(guest.read(*array))
            job.finished = True
        return UNDEFINED

    def _host_fail(self, guest: Guest, job: Job, cause: int, reason: int) -> int:
        code = struct.unpack("<Q", guest.read(cause, 8))[0] & 0xFFFF_FFFF
        is_full = guest.memory_size + PAGE_BYTES > job.limits.memory_bytes
        if code == _FAILED_FOR_MEMORY or (code == _THREW_NULL and is_full):
            raise StoppedError(Outcome.OUT_OF_MEMORY, "out of memory")
        text = self._text(guest, reason)
        raise StoppedError(Outcome.TRAPPED, (text or b"out of memory").decode("utf-8", "replace"))

    def _new(self, guest: Guest, constructor: str, data: bytes) -> int:
        """A new value in the guest made of `data`; out of memory ends the job."""
        if len(data) < SCRATCH_BYTES:
            guest.write(self._at.scratch, data)
            return guest.call(constructor, self._at.context, self._at.scratch, len(data))
        address = guest.call("allocate", len(data)) & 0xFFFF_FFFF
        if not address:
            raise StoppedError(Outcome.OUT_OF_MEMORY, "out of memory")
        guest.write(address, data)
        value = guest.call(constructor, self._at.context, address, len(data))
        guest.call("release", address)
        return value


def _utf8(text: bytes) -> bytes:
    """The engine's WTF-8 as UTF-8: lone surrogates become replacement characters, as on the web."""
    return _LONE_SURROGATE.sub(b"\xef\xbf\xbd", text) if b"\xed" in text else text


def sandbox(engine: wasmtime.Engine, host_call: Callable[..., int]) -> Sandbox:
    """What QuickJS imports: the host's functions, and the few of WASI that its C library names."""
    guests = Sandbox(engine)
    guests.define("adyton", "call", "ii>l", host_call)
    define_wasi(guests)
    return guests
