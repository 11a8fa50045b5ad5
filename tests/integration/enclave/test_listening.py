"""Enclaves that listen on TCP, reached through the bridge that hosts put a Unix socket on."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from oracle.enclave.listening import listen_at
from oracle.enclave.main import EXIT_CONFIGURATION
from oracle.enclave.protocol import (
    Describe,
    Description,
    ReceiptReply,
    encode,
    parse_enclave_message,
    read_frame,
    write_frame,
)
from oracle.errors import ConfigurationError
from tests.integration.enclave.conftest import EnclaveProcess, Host, wait_for

ROOT = Path(__file__).parents[3]


def free_port(family: socket.AddressFamily = socket.AF_INET) -> int:
    with socket.socket(family) as probe:
        probe.bind(("127.0.0.1" if family is socket.AF_INET else "::1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(address: str) -> EnclaveProcess:
    command = [sys.executable, "-m", "oracle.enclave.main", "--listen", address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return EnclaveProcess(process, Path())


def test_tcp_locked_enclave_answers() -> None:
    port = free_port()
    running = start(f"tcp:127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as stream:
        write_frame(stream, encode(Describe()))
        assert isinstance(parse_enclave_message(read_frame(stream)), Description)
    running.stop()
    assert running.process.stderr is not None
    assert "lockdown=no_new_privs,landlock,seccomp" in running.process.stderr.read()


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
def test_tcp_behind_a_bridge_is_a_unix_socket_to_the_host(socket_path: Path) -> None:
    port = free_port()
    running = start(f"tcp:127.0.0.1:{port}")
    socket_path.parent.mkdir()
    bridge = subprocess.Popen(["socat", f"UNIX-LISTEN:{socket_path},fork,mode=600", f"TCP:127.0.0.1:{port},nodelay"])
    try:
        wait_for(socket_path.exists, "the bridge")
        host = Host(socket_path)
        assert isinstance(host.ask(host.order(b"function main(input) { return input }", b"x")), ReceiptReply)
        host.stream.close()
    finally:
        bridge.kill()
        bridge.wait()
        running.stop()


def test_vsock_locked_enclave_answers_where_the_kernel_has_a_loopback() -> None:
    try:
        with listen_at("vsock:51234"), socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect((1, 51234))  # VMADDR_CID_LOCAL
    except (ConfigurationError, OSError) as error:
        pytest.skip(f"no vsock loopback here: {error}")
    running = start("vsock:51235")
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as stream:
        stream.connect((1, 51235))
        write_frame(stream, encode(Describe()))
        assert isinstance(parse_enclave_message(read_frame(stream)), Description)
    running.stop()


def test_listen_at_ipv6_address_works() -> None:
    with listen_at(f"tcp:[::1]:{free_port(socket.AF_INET6)}") as listener:
        assert listener.family is socket.AF_INET6


_NO_ADDRESSES = "|tcp|tcp:1|tcp::1|tcp:127.0.0.1:|tcp:127.0.0.1:0|tcp:127.0.0.1:65536|tcp:localhost:80|udp:127.0.0.1:5"
_NO_ADDRESSES += "|vsock|vsock:|vsock:0|vsock:3:5|vsock:4294967295|vsock:-1|tcp:127.0.0.1:\u0663"


@pytest.mark.parametrize("address", _NO_ADDRESSES.split("|"))
def test_listen_at_anything_else_is_a_configuration_error(address: str) -> None:
    with pytest.raises(ConfigurationError):
        listen_at(address)


def test_listen_at_taken_port_ends_the_enclave_with_one_sentence() -> None:
    with listen_at(f"tcp:127.0.0.1:{free_port()}") as taken:
        command = [sys.executable, "-m", "oracle.enclave.main", "--listen", f"tcp:127.0.0.1:{taken.getsockname()[1]}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (EXIT_CONFIGURATION, False)
