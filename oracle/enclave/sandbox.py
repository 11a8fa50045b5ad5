"""
Run untrusted WebAssembly: one fresh instance per job, metered, capped, interruptible, deterministic.

- A guest touches the host through the functions of `Sandbox.define` alone. They may raise: the guest is stopped and the
  exception comes out of `Guest.call`. Every pointer they get is checked by `Guest.read` and `Guest.write`.
- Fuel counts executed instructions and what host functions `charge`. It depends on nothing but program and input.
- An instance above its memory limit cannot grow; above its fuel, stack or time it is stopped.
- Time is counted in ticks of `TICK_S`: increments of the engine's epoch, made by the enclave's watchdog thread.

Not deterministic: running out of time and overflowing the native stack. They end a job as TimedOut and Killed.
One guest runs at a time; `oracle.enclave.executor` holds the lock. The thread that calls it needs a stack of
`THREAD_STACK_BYTES`: on a smaller one, deep recursion of a guest would crash the process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_uint64
from typing import Any, Final, Self

import wasmtime

from oracle.enclave import native
from oracle.enclave.outcome import HostError, StoppedError
from oracle.types.receipt import Outcome

TICK_S: Final = 0.02
NATIVE_STACK_BYTES: Final = 48 << 20  # what guest code may use of the thread that calls it
THREAD_STACK_BYTES: Final = NATIVE_STACK_BYTES + (16 << 20)
PAGE_BYTES: Final = 65_536
MAX_TABLE_ELEMENTS: Final = 100_000
UNLIMITED_FUEL: Final = 1 << 62
_KEEP_RESIDENT_BYTES = 4 << 20  # more than the JavaScript snapshot, so that a job faults no page in
_Values = c_uint64 * (native.RAW_VALUE_WORDS * native.MAX_ARGUMENTS)
_MASK = {"i": 0xFFFF_FFFF, "l": 0xFFFF_FFFF_FFFF_FFFF}
_TRAPS = {
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "memory access out of bounds",
    wasmtime.TrapCode.HEAP_MISALIGNED: "misaligned memory access",
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: "table access out of bounds",
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: "indirect call to null",
    wasmtime.TrapCode.BAD_SIGNATURE: "indirect call to a function of another type",
    wasmtime.TrapCode.INTEGER_OVERFLOW: "integer overflow",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "integer division by zero",
    wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER: "a float does not fit an integer",
    wasmtime.TrapCode.UNREACHABLE: "unreachable instruction executed",
}


def configuration(*, max_memory_bytes: int | None = None, target: str | None = None) -> wasmtime.Config:
    """
    The settings that make execution deterministic and stoppable. Modules run only where they were compiled alike.

    `max_memory_bytes` makes it fit for running (instances come from a pool); without it, for compiling. `target`
    compiles for every processor of that kind instead of this one.
    """
    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.cranelift_nan_canonicalization = True
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.wasm_relaxed_simd_deterministic = True
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    config.wasm_custom_page_sizes = False
    config.wasm_wide_arithmetic = False
    config.parallel_compilation = False
    config.memory_init_cow = True
    config.memory_may_move = False  # so that a guest's memory base is fixed
    native.use_stack(config, NATIVE_STACK_BYTES)
    if target is not None:
        config.target = target
    if max_memory_bytes is not None:
        native.use_pool(
            config,
            total_core_instances=4,
            total_memories=4,
            total_tables=4,
            max_memory_size=max_memory_bytes,
            max_core_instance_size=1 << 20,
            table_elements=MAX_TABLE_ELEMENTS,
            linear_memory_keep_resident=_KEEP_RESIDENT_BYTES,
            table_keep_resident=1 << 20,
        )
    return config


class Sandbox:
    """One kind of guest on an engine: the host functions that it may import, and which one runs."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self.engine = engine
        self.engine_address = native.address_of(engine)
        self.linker = wasmtime.Linker(engine)
        self.imports: set[tuple[str, str]] = set()
        self.guest: Guest | None = None  # the one that runs
        self._alive: list[Any] = []

    def define(self, module: str, name: str, signature: str, body: Callable[..., int | None]) -> None:
        """
        Let guests import `module.name`. `signature` is like `"iil>i"`: i32, i32 and i64 give i32; at most one result.

        `body(guest, *arguments)` gets unsigned integers. What it raises stops the guest.
        """
        parameters, _, result = signature.partition(">")
        plan = [(native.RAW_VALUE_WORDS * i, _MASK[letter]) for i, letter in enumerate(parameters)]
        result_mask = _MASK[result] if result else 0

        def callback(_env: object, _caller: object, values: Any, _count: int) -> int:
            guest = self.guest
            try:
                assert guest is not None
                returned = body(guest, *[values[i] & mask for i, mask in plan])
                if result:
                    values[0] = (returned or 0) & result_mask
            except BaseException as error:  # noqa: BLE001  # nothing may unwind through wasm frames
                if guest is not None:
                    guest.failure = error
                return native.host_trap()
            return 0

        types = {"i": wasmtime.ValType.i32(), "l": wasmtime.ValType.i64()}
        kind = wasmtime.FuncType([types[letter] for letter in parameters], [types[letter] for letter in result])
        self._alive += [native.define(self.linker, module, name, kind, callback), kind]
        self.imports.add((module, name))


class Guest:
    """One instance. Use it as a context manager: its memory is gone afterwards."""

    __slots__ = (
        "_base",
        "_context",
        "_functions",
        "_instance",
        "_memory",
        "_size",
        "_store",
        "failure",
        "job",
        "sandbox",
    )

    def __init__(self, sandbox: Sandbox, module: wasmtime.InstancePre, memory_bytes: int, job: Any = None) -> None:
        """
        Instantiate `module`, with fuel that does not count and no time limit; its start function must be gone.

        Raises:
            StoppedError: active segments do not fit.
            HostError: the pool has no room, which is not the program's doing.
        """
        self.sandbox, self.job = sandbox, job
        self.failure: BaseException | None = None
        self._functions: dict[str, tuple[int, Any]] = {}
        self._store, self._context = native.new_store(sandbox.engine_address, memory_bytes, MAX_TABLE_ELEMENTS)
        native.set_fuel(self._context, UNLIMITED_FUEL)
        native.set_epoch_deadline(self._context, 1 << 40)
        try:
            self._instance = native.instantiate(self._context, native.address_of(module))
        except wasmtime.Trap as error:
            native.delete_store(self._store)
            raise StoppedError(Outcome.TRAPPED, "a data or element segment does not fit") from error
        except wasmtime.WasmtimeError as error:  # the program's own limits were checked when it was prepared
            native.delete_store(self._store)
            raise HostError("internal", f"no instance could be made: {str(error).splitlines()[0]}") from error
        memory = native.find_export(self._context, self._instance, "memory")
        self._memory = memory.of.memory if memory is not None and memory.kind == 3 else None
        self._base = self._size = 0
        if self._memory is not None:
            self._base = native.memory_base(self._context, ctypes.addressof(self._memory)) or 0

    def __enter__(self) -> Self:
        """Nothing more to do: the instance is there."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the instance."""
        self._functions.clear()
        native.delete_store(self._store)

    def has_function(self, name: str) -> bool:
        """Whether a function of this name is exported."""
        return name in self._functions or self._find(name) is not None

    def call(self, name: str, *arguments: int) -> int:
        """
        Call the export `name`; the raw result, 64 bits unsigned (meaningless if it returns nothing).

        The caller knows the function's type: arguments are passed as they are.

        Raises:
            StoppedError: the guest trapped or hit a limit.
            Exception: what a host function raised.
        """
        entry = self._functions.get(name) or self._find(name)
        if entry is None:
            raise StoppedError(Outcome.INVALID_PROGRAM, f"exports no function {name!r}")
        values = _Values()
        for position, argument in enumerate(arguments):
            values[native.RAW_VALUE_WORDS * position] = argument
        outer, self.sandbox.guest = self.sandbox.guest, self
        try:
            trap = native.call(self._context, entry[0], values, len(arguments))
        finally:
            self.sandbox.guest = outer
        if trap is not None:
            self._stop(trap)
        result: int = values[0]
        return result

    # -- memory --------------------------------------------------------------------------------------------------------

    @property
    def memory_size(self) -> int:
        """Bytes of linear memory now; 0 without an exported memory."""
        return native.memory_bytes(self._context, ctypes.addressof(self._memory)) if self._memory is not None else 0

    def read(self, at: int, size: int) -> bytes:
        """
        Copy out of guest memory.

        Raises:
            StoppedError: not wholly inside it.
        """
        return ctypes.string_at(self._address(at, size), size)

    def write(self, at: int, data: bytes) -> None:
        """
        Copy into guest memory.

        Raises:
            StoppedError: not wholly inside it.
        """
        ctypes.memmove(self._address(at, len(data)), data, len(data))

    def write_all(self, runs: Sequence[tuple[int, bytes]]) -> None:
        """
        Copy several runs into guest memory, in ascending order.

        Raises:
            StoppedError: the last is not wholly inside it.
        """
        if runs:
            self._address(runs[-1][0], len(runs[-1][1]))
        base, move = self._base, ctypes.memmove
        for at, run in runs:
            move(base + at, run, len(run))

    def grow_to(self, size: int) -> None:
        """
        Make the memory at least `size` bytes large.

        Raises:
            StoppedError: over its limit.
        """
        pages = -(-(size - self.memory_size) // PAGE_BYTES)
        if pages > 0 and not native.grow_memory(self._context, self._memory, pages):
            raise StoppedError(Outcome.OUT_OF_MEMORY, "the program alone is over its memory limit")

    def _address(self, at: int, size: int) -> int:
        end = at + size
        if end > self._size:  # it may have grown; it never shrinks
            self._size = self.memory_size
        if end > self._size or at < 0 or size < 0:
            raise StoppedError(Outcome.TRAPPED, f"host call with {size} bytes at {at}, outside memory")
        return self._base + at

    # -- limits --------------------------------------------------------------------------------------------------------

    @property
    def fuel(self) -> int:
        """Fuel left."""
        return native.get_fuel(self._context)

    @fuel.setter
    def fuel(self, fuel: int) -> None:
        native.set_fuel(self._context, fuel)

    def charge(self, fuel: int) -> None:
        """
        Take `fuel` for work that the host does.

        Raises:
            StoppedError: less is left.
        """
        left = native.get_fuel(self._context)
        if left < fuel:
            native.set_fuel(self._context, 0)
            raise StoppedError(Outcome.OUT_OF_FUEL, "out of fuel")
        native.set_fuel(self._context, left - fuel)

    def set_time_limit(self, ticks: int) -> None:
        """Stop the guest after `ticks` more ticks."""
        native.set_epoch_deadline(self._context, ticks)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> tuple[int, Any] | None:
        extern = native.find_export(self._context, self._instance, name)
        if extern is None or extern.kind != 0:
            return None
        entry = (ctypes.addressof(extern.of.func), extern)  # the second keeps the first alive
        self._functions[name] = entry
        return entry

    def _stop(self, trap: int) -> None:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        if trap == native.HOST_TRAP:
            raise RuntimeError("a guest was stopped for no known reason")
        code = wasmtime.TrapCode(trap)
        if code == wasmtime.TrapCode.OUT_OF_FUEL:
            raise StoppedError(Outcome.OUT_OF_FUEL, "out of fuel")
        if code == wasmtime.TrapCode.INTERRUPT:
            raise StoppedError(Outcome.TIMED_OUT, "the wall-clock limit passed")
        if code == wasmtime.TrapCode.STACK_OVERFLOW:
            raise StoppedError(Outcome.KILLED, "the native stack overflowed")
        raise StoppedError(Outcome.TRAPPED, _TRAPS.get(code, code.name.lower().replace("_", " ")))
