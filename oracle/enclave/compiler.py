"""
Compile untrusted WebAssembly in a process that may be lost.

A compiler can be made to take long, use much memory, or worse. So the enclave starts this module as a helper before
it locks itself down; the helper forks a child for every module, and the child, with its own limits and locked down,
validates, inspects and compiles it. The helper itself never runs wasmtime, because a process that has cannot be
forked safely.

    enclave --frame: module-->  helper --fork--> child
    enclave <--frame: status, metadata, native code--  helper <--pipe--  child
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import wasmtime

from oracle.enclave import lockdown
from oracle.enclave.frames import read_frame, write_frame
from oracle.enclave.outcome import HostError, StoppedError, reason_bytes
from oracle.enclave.sandbox import configuration
from oracle.enclave.wasm_binary import declared_memory_bytes, with_start_exported
from oracle.errors import InvalidInputError
from oracle.types.receipt import Outcome

MAX_CODE_BYTES: Final = 4 << 20
_CPU_LIMIT_S: Final = 20
_WALL_LIMIT_S: Final = 40.0
_MEMORY_LIMIT_BYTES: Final = 3 << 30
_COMPILED, _INVALID, _LOST = 0, 1, 2
_HEAD = struct.Struct(">B256s16sQ")  # status; name of the start function or reason; name of the entry; memory
_ENTRIES = ("run", "_start")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A module ready to be loaded."""

    native: bytes
    start: str | None  # what was its start function
    entry: str
    memory_bytes: int  # that an instance starts with


class Compiler:
    """The enclave's end. One module at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        package = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "oracle.enclave.compiler"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env={"PYTHONPATH": package, "PATH": ""},
            close_fds=True,
        )
        theirs.close()
        self._connection = ours
        self._lock = threading.Lock()

    def compile(self, code: bytes) -> Compiled:
        """
        Compile a module.

        Raises:
            StoppedError: InvalidProgram with the reason, or Killed if compiling took more than the helper's limits.
            HostError: the helper is gone.
        """
        if len(code) > MAX_CODE_BYTES:
            raise StoppedError(Outcome.INVALID_PROGRAM, f"the module is larger than {MAX_CODE_BYTES} bytes")
        try:
            with self._lock:
                write_frame(self._connection, code)
                answer = read_frame(self._connection)
        except (OSError, EOFError, InvalidInputError) as error:
            raise HostError("internal", "the compile helper is gone: restart the enclave") from error
        status, first, second, memory = _HEAD.unpack_from(answer)
        text, entry = (field.rstrip(b"\0").decode("utf-8", "replace") for field in (first, second))
        if status == _COMPILED:
            return Compiled(answer[_HEAD.size :], text or None, entry, memory)
        raise StoppedError(Outcome.INVALID_PROGRAM if status == _INVALID else Outcome.KILLED, text)

    def close(self) -> None:
        """Let the helper end, and wait for it."""
        self._connection.close()
        self._process.wait()


def inspect_and_compile(code: bytes) -> bytes:
    """
    What the child answers for a module: a head, and native code if it is valid.

    The imports are checked by the enclave when it links the module.
    """
    engine = wasmtime.Engine(configuration())
    try:
        wasmtime.Module.validate(engine, code)
    except wasmtime.WasmtimeError as error:
        return _answer(_INVALID, f"not valid WebAssembly: {_first_line(error)}")
    code, start = with_start_exported(code)
    if start is not None and len(start.encode()) > 256:
        return _answer(_INVALID, "the name of an export is too long")
    module = wasmtime.Module(engine, code)
    functions = {item.name: item.type for item in module.exports if isinstance(item.type, wasmtime.FuncType)}
    entry = next((name for name in _ENTRIES if name in functions), None)
    if entry is None:
        return _answer(_INVALID, "exports neither a function `run` nor `_start`")
    for name in (entry, "_initialize"):
        if name in functions and (functions[name].params or functions[name].results):
            return _answer(_INVALID, f"the function `{name}` takes or returns values, which it must not")
    return _answer(_COMPILED, start or "", entry, declared_memory_bytes(code)) + bytes(module.serialize())


def _answer(status: int, text: str, entry: str = "", memory: int = 0) -> bytes:
    return _HEAD.pack(status, reason_bytes(text), entry.encode(), memory)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((lines[i + 1] for i, line in enumerate(lines[:-1]) if line == "Caused by:"), lines[0] if lines else "?")


def _compile_in_child(code: bytes) -> bytes:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(code, writer)
    os.close(writer)
    answer = _read_until(reader, time.monotonic() + _WALL_LIMIT_S)
    os.close(reader)
    if answer is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if answer is None or status != 0 or len(answer) < _HEAD.size:
        return _answer(_LOST, "compiling the module takes more time or memory than the enclave allows")
    return answer


def _child(code: bytes, writer: int) -> None:
    """Never returns."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT_BYTES, _MEMORY_LIMIT_BYTES))
        lockdown.restrict_system_calls()
        answer = inspect_and_compile(code)
        while answer:
            answer = answer[os.write(writer, answer) :]
        status = 0
    finally:
        os._exit(status)


def _read_until(reader: int, deadline: float) -> bytes | None:
    """All that comes until the other end closes; None if the deadline passes first."""
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(reader, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)


def main() -> None:
    """The helper: serve until the enclave closes the connection."""
    connection = socket.socket(fileno=0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the enclave; this ends when the enclave does
    lockdown.restrict_process()
    lockdown.restrict_files()
    while True:
        try:
            code = read_frame(connection)
            write_frame(connection, _compile_in_child(code))
        except (EOFError, OSError, InvalidInputError):
            return


if __name__ == "__main__":
    main()
