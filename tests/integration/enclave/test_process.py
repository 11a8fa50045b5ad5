"""The enclave as a process: its socket, its lockdown, its end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from oracle.enclave.main import EXIT_CONFIGURATION
from oracle.enclave.protocol import Describe, Description, ErrorReply, ReceiptReply
from oracle.enclave.server import MAX_CONNECTIONS
from oracle.types.program import Engine, Limits
from oracle.types.receipt import Outcome
from tests.integration.enclave.conftest import Host, is_alive, kill, start, wait_for

ECHO = b"function main(input) { return input }"
ROOT = Path(__file__).parents[3]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def description(host: Host) -> Description:
    reply = host.ask(Describe())
    assert isinstance(reply, Description)
    return reply


def test_socket_is_for_this_user_alone(socket_path: Path) -> None:
    running = start(socket_path)
    assert socket_path.stat().st_mode & 0o777 == 0o600
    assert socket_path.parent.stat().st_mode & 0o777 == 0o700
    running.stop()


def test_start_over_a_stale_socket_replaces_it(socket_path: Path) -> None:
    first = start(socket_path)
    before = description(first.connect())
    kill(first.process.pid)
    first.process.wait()
    assert socket_path.exists()
    second = start(socket_path)
    after = description(second.connect())
    assert after.measurement == before.measurement
    assert after.signer != before.signer
    second.stop()


@pytest.mark.parametrize("options", [["--ceilings", "nonsense"], ["--ceilings", '{"speed": 1}'], ["--ceilings", "[]"]])
def test_start_with_bad_ceilings_says_so(socket_path: Path, options: list[str]) -> None:
    failed = start(socket_path, *options, is_ready=False)
    assert failed.process.wait() == EXIT_CONFIGURATION
    assert failed.process.stderr is not None
    assert "--ceilings takes" in failed.process.stderr.read()


def test_start_where_an_enclave_listens_or_a_file_is_says_so(socket_path: Path) -> None:
    running = start(socket_path)
    second = start(socket_path, is_ready=False)
    assert second.process.wait() == EXIT_CONFIGURATION
    assert second.process.stderr is not None
    assert "listens on" in second.process.stderr.read()
    running.stop()
    socket_path.unlink()
    socket_path.write_text("a file")
    third = start(socket_path, is_ready=False)
    assert third.process.wait() == EXIT_CONFIGURATION
    assert third.process.stderr is not None
    assert "is no socket" in third.process.stderr.read()


def test_start_with_a_path_too_long_says_so(tmp_path: Path) -> None:
    failed = start(tmp_path / ("x" * 120), is_ready=False)
    assert failed.process.wait() == EXIT_CONFIGURATION
    assert failed.process.stderr is not None
    assert "choose a shorter one" in failed.process.stderr.read()


def test_ceilings_from_the_command_line_deny_larger_manifests(socket_path: Path) -> None:
    running = start(socket_path, "--ceilings", '{"fuel": 1000000, "memory_bytes": 67108864}')
    host = running.connect()
    assert description(host).ceilings.fuel == 1_000_000
    denied = host.ask(host.order(ECHO, b"x", limits=Limits(fuel=1_000_001)))
    assert isinstance(denied, ReceiptReply)
    assert denied.outcome is Outcome.DENIED
    served = host.ask(host.order(ECHO, b"x", limits=Limits(fuel=1_000_000)))
    assert isinstance(served, ReceiptReply)
    assert served.outcome is Outcome.COMPLETED
    running.stop()


def test_lockdown_is_active_in_every_thread(socket_path: Path) -> None:
    running = start(socket_path)
    threads = [entry / "status" for entry in Path(f"/proc/{running.process.pid}/task").iterdir()]
    states = [dict(line.split(":\t", 1) for line in path.read_text().splitlines()) for path in threads]
    assert len(states) > MAX_CONNECTIONS
    assert {state["NoNewPrivs"] for state in states} == {"1"}
    assert {state["Seccomp"] for state in states} == {"2"}
    running.stop()
    assert running.process.stderr is not None
    assert "lockdown=no_new_privs,landlock,seccomp" in running.process.stderr.read()


def test_no_lockdown_is_logged_as_none(socket_path: Path) -> None:
    running = start(socket_path, "--no-lockdown")
    running.stop()
    assert running.process.stderr is not None
    assert "lockdown=none" in running.process.stderr.read()


def test_exit_with_parent_enclave_and_helper_end_when_the_parent_is_killed(socket_path: Path) -> None:
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'oracle.enclave.main', '--socket',"
        f" {str(socket_path)!r}, '--exit-with-parent'], stdout=subprocess.PIPE); p.stdout.readline();"
        "print(p.pid, flush=True); p.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    enclave = int(parent.stdout.readline())
    helpers = children(enclave)
    assert helpers
    kill(parent.pid)
    parent.wait()
    wait_for(lambda: not any(map(is_alive, [enclave, *helpers])), "the enclave and its helper to end")


def test_killed_enclave_takes_its_helper_along(socket_path: Path) -> None:
    running = start(socket_path)
    helpers = children(running.process.pid)
    running.stop()
    wait_for(lambda: not any(map(is_alive, helpers)), "the helper to end")


def test_lost_compile_helper_is_an_error_and_javascript_goes_on(socket_path: Path) -> None:
    running = start(socket_path)
    [helper] = children(running.process.pid)
    kill(helper)
    host = running.connect()
    reply = host.ask(host.order(b"\0asm\1\0\0\0", engine=Engine.WASM))
    assert isinstance(reply, ErrorReply)
    assert reply.code == "internal"
    assert isinstance(host.ask(host.order(ECHO, b"x")), ReceiptReply)
    running.stop()


def test_more_connections_than_threads_wait_their_turn(socket_path: Path) -> None:
    running = start(socket_path)
    hosts = [running.connect() for _ in range(MAX_CONNECTIONS)]
    for host in hosts:
        description(host)
    waiting = running.connect()
    waiting.send(Describe())
    waiting.stream.settimeout(0.2)
    with pytest.raises(TimeoutError):
        waiting.stream.recv(1, socket.MSG_PEEK)
    hosts[0].stream.close()
    waiting.stream.settimeout(30)
    assert isinstance(waiting.receive(), Description)
    running.stop()


def test_compile_helper_is_locked_down_too(socket_path: Path) -> None:
    running = start(socket_path)
    [helper] = children(running.process.pid)
    status = Path(f"/proc/{helper}/status")
    wait_for(lambda: "NoNewPrivs:\t1" in status.read_text(), "the helper's lockdown")
    if os.geteuid() != 0:
        with pytest.raises(PermissionError):
            Path(f"/proc/{helper}/environ").read_bytes()
    running.stop()
