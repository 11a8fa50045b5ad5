"""
Give up what an enclave process does not need: new privileges, core dumps, files, sockets, processes.

Best effort: each function says whether the kernel granted it, and the enclave logs that. This protects the host from
a program that broke out of the sandbox and the keys from other users of the host; it does not protect the enclave
from root, which is what hardware is for. Linux only; system calls are filtered on x86_64 only. No package is needed:
plain ctypes.

Warm up before: a job must have run (wasmtime opens files on its first), codecs must be loaded, threads must have
started.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 317, 1, 1
_SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD_RULE, _SYS_LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_CREATE_VERSION, _LANDLOCK_PATH_BENEATH = 1, 1
_LANDLOCK_WRITE_FILE, _LANDLOCK_READ_FILE = 1 << 1, 1 << 2
_AUDIT_ARCH_X86_64, _X32_BIT = 0xC000003E, 0x40000000
_ALLOW, _DENY, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # deny answers EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_FIRST_ARGUMENT = 16  # where its low half lies in struct seccomp_data

ALLOWED_CALLS: Final = {
    "read": 0,
    "write": 1,
    "close": 3,
    "fstat": 5,
    "poll": 7,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "ioctl": 16,
    "select": 23,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "nanosleep": 35,
    "getpid": 39,
    "sendto": 44,
    "recvfrom": 45,
    "sendmsg": 46,
    "recvmsg": 47,
    "shutdown": 48,
    "getsockname": 51,
    "getpeername": 52,
    "setsockopt": 54,
    "getsockopt": 55,
    "exit": 60,
    "fcntl": 72,
    "getrusage": 98,
    "getppid": 110,
    "sigaltstack": 131,
    "prctl": 157,
    "gettid": 186,
    "futex": 202,
    "sched_getaffinity": 204,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "clock_getres": 229,
    "clock_nanosleep": 230,
    "exit_group": 231,
    "tgkill": 234,
    "pselect6": 270,
    "ppoll": 271,
    "set_robust_list": 273,
    "accept4": 288,
    "getrandom": 318,
    "memfd_create": 319,
    "membarrier": 324,
    "rseq": 334,
}
EXTRA_CALLS: Final = {"socket": 41, "connect": 42, "openat": 257}  # what a quoter may declare; sockets are Unix only
_AF_UNIX: Final = 1


def restrict_process() -> bool:
    """No new privileges (a condition of the other two), no debugger of the same user, no core dump."""
    if sys.platform != "linux":
        return False
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    results = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return results == (0, 0)


def restrict_files(readable: Iterable[Path] = (), writable: Iterable[Path] = ()) -> bool:
    """
    Landlock: no file may be opened, made or run, no TCP port used. Binds this thread and those it starts later.

    Excepted are the files `readable` and `writable`, and the files in these if they are directories; only for reading
    and only for writing.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_SYS_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(_LANDLOCK_CREATE_VERSION))
    if version < 1:
        return False
    files = (1 << 13) - 1 | (version >= 2) << 13 | (version >= 3) << 14 | (version >= 5) << 15
    rules = struct.pack("<QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = libc.syscall(_SYS_LANDLOCK_CREATE, rules, ctypes.c_size_t(size), ctypes.c_uint(0))
    if ruleset < 0:
        return False
    try:
        granted = [_grant(libc, ruleset, path, _LANDLOCK_READ_FILE) for path in readable]
        granted += [_grant(libc, ruleset, path, _LANDLOCK_WRITE_FILE) for path in writable]
        restricted = libc.syscall(_SYS_LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint(0)) == 0
        return bool(restricted) and all(granted)
    finally:
        os.close(ruleset)


def _grant(libc: ctypes.CDLL, ruleset: int, path: Path, access: int) -> bool:
    """Except `path`. One that does not exist needs no exception."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        rule = struct.pack("<Qi", access, descriptor)
        arguments = ctypes.c_int(ruleset), ctypes.c_int(_LANDLOCK_PATH_BENEATH), rule, ctypes.c_uint(0)
        return bool(libc.syscall(_SYS_LANDLOCK_ADD_RULE, *arguments) == 0)
    finally:
        os.close(descriptor)


def restrict_system_calls(extra: Iterable[str] = ()) -> bool:
    """
    Seccomp: every thread of this process may make `ALLOWED_CALLS` and no other; others fail with EPERM.

    `extra` names more, of `EXTRA_CALLS`: sockets are then allowed as Unix sockets only.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    steps = [
        (_LOAD, 0, 0, 4),  # architecture
        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # number of the call
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL),
    ]
    allowed = {**ALLOWED_CALLS, **{name: EXTRA_CALLS[name] for name in extra}}
    has_sockets = allowed.pop("socket", None) is not None
    for number in sorted(allowed.values()):
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    if has_sockets:
        steps += [(_EQUAL, 0, 3, EXTRA_CALLS["socket"]), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
        steps += [(_EQUAL, 0, 1, _AF_UNIX), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _DENY))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    program = struct.pack("<HxxxxxxQ", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = ctypes.c_uint(_SECCOMP_SET_MODE_FILTER), ctypes.c_uint(_SECCOMP_FILTER_FLAG_TSYNC), program
    return bool(libc.syscall(_SYS_SECCOMP, *arguments) == 0)
