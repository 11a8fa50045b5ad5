"""
A deterministic world for programs built for WASI preview 1.

Standard input is the job's input, standard output its output, standard error its log; every clock shows the time of
the request; randomness is the request's stream; there is one argument, no environment, no file, no socket. Functions
outside this world exist, so that programs link, and answer EBADF or ENOSYS. Source:
https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from oracle.enclave.job import COPY_FUEL_PER_BYTE, HOST_CALL_FUEL, RANDOM_FUEL_PER_BYTE
from oracle.enclave.outcome import StoppedError
from oracle.enclave.sandbox import Guest, Sandbox
from oracle.types.receipt import Outcome

MODULE: Final = "wasi_snapshot_preview1"
_SUCCESS, _EBADF, _EINVAL, _ENOSYS, _ESPIPE = 0, 8, 28, 52, 70
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_MAX_VECTORS = 1_024
_FUEL_PER_VECTOR = 8_000
_ARGUMENT = b"program\0"
_CHARACTER_DEVICE = 2
_RIGHT_READ, _RIGHT_WRITE = 1 << 1, 1 << 6

_ABSENT = {  # functions on files, sockets and timers that no program can have
    _EBADF: {
        "fd_advise": "illi",
        "fd_allocate": "ill",
        "fd_datasync": "i",
        "fd_fdstat_set_rights": "ill",
        "fd_filestat_get": "ii",
        "fd_filestat_set_size": "il",
        "fd_filestat_set_times": "illi",
        "fd_pread": "iiili",
        "fd_prestat_dir_name": "iii",
        "fd_prestat_get": "ii",
        "fd_pwrite": "iiili",
        "fd_readdir": "iiili",
        "fd_renumber": "ii",
        "fd_sync": "i",
        "path_create_directory": "iii",
        "path_filestat_get": "iiiii",
        "path_filestat_set_times": "iiiilli",
        "path_link": "iiiiiii",
        "path_open": "iiiiillii",
        "path_readlink": "iiiiii",
        "path_remove_directory": "iii",
        "path_rename": "iiiiii",
        "path_symlink": "iiiii",
        "path_unlink_file": "iii",
        "sock_accept": "iii",
        "sock_recv": "iiiiii",
        "sock_send": "iiiii",
        "sock_shutdown": "ii",
    },
    _ENOSYS: {"poll_oneoff": "iiii", "proc_raise": "i"},
}


def define_wasi(sandbox: Sandbox) -> None:
    """Let the guests of `sandbox` import the functions of this module."""

    def define(name: str, parameters: str, body: Callable[..., int]) -> None:
        def charged(guest: Guest, *arguments: int) -> int:
            guest.charge(HOST_CALL_FUEL)
            return body(guest, *arguments)

        sandbox.define(MODULE, name, f"{parameters}>i", charged)

    for answer, functions in _ABSENT.items():
        for name, parameters in functions.items():
            define(name, parameters, lambda *_, answer=answer: answer)
    define("args_get", "ii", _args_get)
    define("args_sizes_get", "ii", lambda guest, *at: _write_u32s(guest, (at[0], 1), (at[1], len(_ARGUMENT))))
    define("environ_get", "ii", lambda *_: _SUCCESS)
    define("environ_sizes_get", "ii", lambda guest, *at: _write_u32s(guest, (at[0], 0), (at[1], 0)))
    define("clock_res_get", "ii", lambda guest, _, at: _write_u64(guest, at, 10**9))
    define("clock_time_get", "ili", lambda guest, _clock, _precision, at: _write_u64(guest, at, guest.job.now_ns))
    define("fd_close", "i", lambda _, fd: _SUCCESS if fd <= _STDERR else _EBADF)
    define("fd_fdstat_get", "ii", _fd_fdstat_get)
    define("fd_fdstat_set_flags", "ii", lambda _, fd, _flags: _SUCCESS if fd <= _STDERR else _EBADF)
    define("fd_read", "iiii", _fd_read)
    define("fd_seek", "ilii", lambda _, fd, *_rest: _ESPIPE if fd <= _STDERR else _EBADF)
    define("fd_tell", "ii", lambda _, fd, _at: _ESPIPE if fd <= _STDERR else _EBADF)
    define("fd_write", "iiii", _fd_write)
    define("random_get", "ii", _random_get)
    define("sched_yield", "", lambda *_: _SUCCESS)
    sandbox.define(MODULE, "proc_exit", "i>", _proc_exit)


def _args_get(guest: Guest, pointers: int, text: int) -> int:
    guest.write(pointers, struct.pack("<I", text))
    guest.write(text, _ARGUMENT)
    return _SUCCESS


def _fd_fdstat_get(guest: Guest, fd: int, at: int) -> int:
    if fd > _STDERR:
        return _EBADF
    rights = _RIGHT_READ if fd == _STDIN else _RIGHT_WRITE
    guest.write(at, struct.pack("<BxHxxxxQQ", _CHARACTER_DEVICE, 0, rights, 0))
    return _SUCCESS


def _fd_read(guest: Guest, fd: int, vectors: int, count: int, size_at: int) -> int:
    if fd != _STDIN:
        return _EBADF
    if count > _MAX_VECTORS:
        return _EINVAL
    job, total = guest.job, 0
    for at, size in _vectors(guest, vectors, count):
        data = job.input[job.input_read : job.input_read + size]
        guest.charge(COPY_FUEL_PER_BYTE * len(data))
        guest.write(at, data)
        job.input_read += len(data)
        total += len(data)
    return _write_u32s(guest, (size_at, total))


def _fd_write(guest: Guest, fd: int, vectors: int, count: int, size_at: int) -> int:
    if fd not in (_STDOUT, _STDERR):
        return _EBADF
    if count > _MAX_VECTORS:
        return _EINVAL
    job, total = guest.job, 0
    for at, size in _vectors(guest, vectors, count):
        guest.charge(COPY_FUEL_PER_BYTE * size)
        data = guest.read(at, size)
        if fd == _STDOUT:
            job.write(data)
        else:
            job.log(data.rstrip(b"\n"))
        total += size
    return _write_u32s(guest, (size_at, total))


def _vectors(guest: Guest, at: int, count: int) -> list[tuple[int, int]]:
    guest.charge(_FUEL_PER_VECTOR * count)
    return list(struct.iter_unpack("<II", guest.read(at, 8 * count)))


def _random_get(guest: Guest, at: int, size: int) -> int:
    guest.charge(RANDOM_FUEL_PER_BYTE * size)
    guest.read(at, size)  # refuse a bad pointer before working for it
    guest.write(at, guest.job.random.take(size))
    return _SUCCESS


def _proc_exit(guest: Guest, code: int) -> None:
    guest.charge(HOST_CALL_FUEL)
    if code:
        raise StoppedError(Outcome.TRAPPED, f"exit code {code}")
    raise StoppedError(Outcome.COMPLETED, "")


def _write_u32s(guest: Guest, *values: tuple[int, int]) -> int:
    for at, value in values:
        guest.write(at, struct.pack("<I", value))
    return _SUCCESS


def _write_u64(guest: Guest, at: int, value: int) -> int:
    guest.write(at, struct.pack("<Q", value))
    return _SUCCESS
