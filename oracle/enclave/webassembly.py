"""
WebAssembly programs: linked against the guest API alone, one fresh instance per job.

A module's start function was made an export (`wasm_binary.with_start_exported`), so that everything it executes is
inside the metered job: start, then `_initialize` if exported, then `run` or `_start`. Instantiation executes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import wasmtime

from oracle.enclave.compiler import Compiler
from oracle.enclave.guest_api import define_guest_api
from oracle.enclave.job import Job
from oracle.enclave.outcome import Result, StoppedError
from oracle.enclave.sandbox import Guest, Sandbox
from oracle.enclave.wasi import define_wasi
from oracle.types.program import Limits
from oracle.types.receipt import Outcome


@dataclass(frozen=True, slots=True)
class LinkedProgram:
    """A program that can be run."""

    module: wasmtime.InstancePre
    start: str | None
    entry: str
    size: int  # bytes of native code


class WebAssembly:
    """The engine. `prepare` a program once, `run` it as often as it is asked for."""

    def __init__(self, engine: wasmtime.Engine, compiler: Compiler) -> None:
        self._compiler = compiler
        self._sandbox = Sandbox(engine)
        define_guest_api(self._sandbox)
        define_wasi(self._sandbox)

    def prepare(self, code: bytes, limits: Limits) -> LinkedProgram:
        """
        Compile and link a module.

        Raises:
            StoppedError: InvalidProgram with the reason, or Killed if compiling it takes too much.
            HostError: it could not be compiled for a reason that is not its own.
        """
        compiled = self._compiler.compile(code)
        if compiled.memory_bytes > limits.memory_bytes:
            asked = f"starts with {compiled.memory_bytes} bytes of memory"
            raise StoppedError(Outcome.INVALID_PROGRAM, f"{asked}, the manifest allows {limits.memory_bytes}")
        try:
            module = wasmtime.Module.deserialize(self._sandbox.engine, compiled.native)
        except wasmtime.WasmtimeError as error:
            raise StoppedError(Outcome.INVALID_PROGRAM, f"over the enclave's limits: {_cause(error)}") from error
        for wanted in module.imports:
            if (wanted.module, wanted.name) not in self._sandbox.imports:
                raise StoppedError(
                    Outcome.INVALID_PROGRAM, f"imports {wanted.module}.{wanted.name}, which is not offered"
                )
        try:
            linked = self._sandbox.linker.instantiate_pre(module)
        except wasmtime.WasmtimeError as error:
            raise StoppedError(
                Outcome.INVALID_PROGRAM, f"imports a function of another type: {_cause(error)}"
            ) from error
        return LinkedProgram(linked, compiled.start, compiled.entry, len(compiled.native))

    def run(self, program: LinkedProgram, job: Job, fuel: int) -> Result:
        """Run the program in a fresh guest with at most `fuel`."""
        try:
            guest = Guest(self._sandbox, program.module, job.limits.memory_bytes, job)
        except StoppedError as error:
            return Result.stopped(error)
        with guest:
            guest.fuel = fuel
            job.start_clock(guest)
            try:
                if program.start is not None:
                    guest.call(program.start)
                if guest.has_function("_initialize"):
                    guest.call("_initialize")
                guest.call(program.entry)
            except StoppedError as error:
                if error.outcome is not Outcome.COMPLETED:
                    return Result.stopped(error, fuel - guest.fuel, tuple(job.logs))
            return Result(Outcome.COMPLETED, bytes(job.output), fuel - guest.fuel, tuple(job.logs))


def _cause(error: wasmtime.WasmtimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "?"
