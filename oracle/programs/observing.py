"""
Watch what a program asks of its host, without changing what it does.

The engines here are the enclave's own classes. Each host function is called through a wrapper that counts; fuel,
outcome and output are those of the enclave, which `tests/unit/programs/test_running.py` checks against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import wasmtime

from oracle.enclave.compiler import Compiler
from oracle.enclave.guest_api import define_guest_api
from oracle.enclave.javascript import HOST_FUNCTIONS, Addresses, JavaScript
from oracle.enclave.sandbox import Guest, Sandbox
from oracle.enclave.wasi import define_wasi
from oracle.enclave.webassembly import WebAssembly

MAX_CALLS: Final = 10_000  # kept in order; all are counted


@dataclass(slots=True)
class Call:
    """One call of a host function. Sizes are of what the host read from and wrote to the guest's memory."""

    name: str
    bytes_read: int = 0
    bytes_written: int = 0
    fuel: int = 0


@dataclass(slots=True)
class Trace:
    """What one job did."""

    calls: list[Call] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    peak_memory_bytes: int = 0

    def begin(self, name: str) -> Call:
        """A call of `name` begins."""
        call = Call(name)
        self.counts[name] = self.counts.get(name, 0) + 1
        if len(self.calls) < MAX_CALLS:
            self.calls.append(call)
        return call

    def clear(self) -> None:
        """Forget everything: another job begins."""
        self.calls, self.counts, self.peak_memory_bytes = [], {}, 0


class _ObservedGuest:
    """A guest as one host function sees it, counting what moves."""

    def __init__(self, guest: Guest, call: Call) -> None:
        self._guest = guest
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    def read(self, at: int, size: int) -> bytes:
        data = self._guest.read(at, size)
        self._call.bytes_read += size
        return data

    def write(self, at: int, data: bytes) -> None:
        self._guest.write(at, data)
        self._call.bytes_written += len(data)


def _observed(
    trace: Trace, name: str, guest: Guest, body: Callable[..., int | None], arguments: tuple[int, ...]
) -> int:
    call, before = trace.begin(name), guest.fuel
    try:
        return body(cast(Guest, _ObservedGuest(guest, call)), *arguments) or 0
    finally:
        call.fuel = before - guest.fuel


class ObservedSandbox(Sandbox):
    """
    The same sandbox as `inner`, but watched: what is defined through it is counted, and when a guest is left its
    memory, which never shrinks, is noted.
    """

    def __init__(self, inner: Sandbox, trace: Trace) -> None:
        self._inner = inner
        self._trace = trace
        self.engine = inner.engine
        self.engine_address = inner.engine_address
        self.linker = inner.linker
        self.imports = inner.imports
        self._alive: list[Any] = []

    @property
    def guest(self) -> Guest | None:
        """The guest that runs."""
        return self._inner.guest

    @guest.setter
    def guest(self, guest: Guest | None) -> None:
        left = self._inner.guest
        if left is not None:
            self._trace.peak_memory_bytes = max(self._trace.peak_memory_bytes, left.memory_size)
        self._inner.guest = guest

    def define(self, module: str, name: str, signature: str, body: Callable[..., int | None]) -> None:
        """As there, with `body` watched."""
        title = name if module == "adyton" else f"{module}.{name}"

        def watched(guest: Guest, *arguments: int) -> int:
            return _observed(self._trace, title, guest, body, arguments)

        super().define(module, name, signature, watched)


class ObservedWebAssembly(WebAssembly):
    """The WebAssembly engine, watched."""

    def __init__(self, engine: wasmtime.Engine, compiler: Compiler, trace: Trace) -> None:
        super().__init__(engine, compiler)
        self._sandbox = ObservedSandbox(self._sandbox, trace)
        self._sandbox.linker.allow_shadowing = True
        define_guest_api(self._sandbox)
        define_wasi(self._sandbox)


class ObservedJavaScript(JavaScript):
    """The JavaScript engine, watched."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module, addresses: Addresses, trace: Trace) -> None:
        super().__init__(engine, module, addresses)
        self._sandbox = ObservedSandbox(self._sandbox, trace)
        self._trace = trace
        self._names = tuple(HOST_FUNCTIONS)

    def _host_call(self, guest: Guest, function: int, arguments: int) -> int:
        return _observed(self._trace, self._names[function], guest, super()._host_call, (function, arguments))
