"""What a locked process can no longer do, tried in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_TRY = """
import ctypes, os, pathlib, socket, sys
from oracle.enclave import lockdown
assert lockdown.{restriction}()
try:
    {action}
except OSError as error:
    print(error.errno)
else:
    print("allowed")
"""
EPERM, EACCES = "1", "13"
ACTIONS = {
    "read a file": "open('/etc/hostname').read()",
    "write a file": "open('/tmp/adyton-lockdown', 'w')",
    "connect": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "start a program": "os.posix_spawn('/bin/true', ['true'], {})",
    "fork": "os.fork() or os._exit(0)",
    "read own memory map": "open('/proc/self/maps').read()",
    "list a directory": "os.listdir('/')",
    "trace itself": "(lambda r: r == 0 or (_ for _ in ()).throw(OSError(ctypes.get_errno(), '')))"
    "(ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0))",
}


def attempt(restriction: str, action: str, arguments: str = "") -> str:
    code = _TRY.replace("{restriction}()", f"{{restriction}}({arguments})").format(
        restriction=restriction, action=action
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=_ROOT, timeout=30
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are filtered on x86_64 only")
@pytest.mark.parametrize("action", ACTIONS)
def test_restrict_system_calls_everything_not_needed_is_refused(action: str) -> None:
    assert attempt("restrict_system_calls", ACTIONS[action]) == EPERM


@pytest.mark.parametrize("action", ["read a file", "write a file", "start a program", "list a directory"])
def test_restrict_files_no_file_can_be_used(action: str) -> None:
    needed = "restrict_process() and lockdown.restrict_files"
    assert attempt(needed, ACTIONS[action]) == EACCES


def test_restrict_process_is_not_dumpable_and_gains_no_privileges() -> None:
    action = "print(open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0], end=' '); raise OSError(7, '')"
    assert attempt("restrict_process", action) == "1 7"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are filtered on x86_64 only")
@pytest.mark.parametrize("action", [name for name in ACTIONS if name not in ("read a file", "list a directory")])
def test_restrict_system_calls_extra_calls_allow_nothing_else(action: str) -> None:
    extra = "['socket', 'connect']"
    assert attempt("restrict_system_calls", ACTIONS[action], extra) == EPERM


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are filtered on x86_64 only")
def test_restrict_system_calls_extra_sockets_are_unix_sockets_only() -> None:
    tried = "socket.socket(socket.AF_{}, socket.SOCK_STREAM)"
    extra = "['socket', 'connect']"
    assert attempt("restrict_system_calls", tried.format("UNIX"), extra) == "allowed"
    for family in ("INET", "INET6", "NETLINK", "VSOCK"):
        assert attempt("restrict_system_calls", tried.format(family), extra) == EPERM


@pytest.mark.parametrize(
    ("action", "result"),
    [
        ("open('{}/readable').read()", "allowed"),
        ("open('{}/directory/inside').read()", "allowed"),
        ("os.close(os.open('{}/writable', os.O_WRONLY))", "allowed"),
        ("open('{}/readable', 'r+')", EACCES),
        ("open('{}/writable').read()", EACCES),
        ("open('{}/other').read()", EACCES),
        ("open('{}/directory/inside', 'r+')", EACCES),
        ("open('{}/directory/new', 'w')", EACCES),
        ("os.unlink('{}/writable')", EACCES),
        ("os.listdir('{}/directory')", EACCES),
        ("os.posix_spawn('{}/readable', ['readable'], {{}})", EACCES),
    ],
)
def test_restrict_files_exceptions_are_for_reading_or_writing_only(tmp_path: Path, action: str, result: str) -> None:
    (tmp_path / "directory").mkdir()
    for name in ("readable", "writable", "other", "directory/inside"):
        (tmp_path / name).touch(mode=0o755)
    at = f"pathlib.Path('{tmp_path}')"
    arguments = f"[{at} / 'readable', {at} / 'directory', {at} / 'missing'], [{at} / 'writable']"
    needed = "restrict_process() and lockdown.restrict_files"
    assert attempt(needed, action.format(tmp_path), arguments) == result
