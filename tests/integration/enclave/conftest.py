"""A real enclave process, locked down as in production, and a host that speaks to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oracle.crypto.hashing import keccak256
from oracle.enclave.protocol import (
    Content,
    EnclaveMessage,
    Execute,
    HostMessage,
    Need,
    encode,
    parse_enclave_message,
    read_frame,
    write_frame,
)
from oracle.types.ids import Address
from oracle.types.pool import Pool
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.types.request import Request

CHAIN_ID = 31337
COPROCESSOR, CONSUMER, PAYEE = (Address(bytes([n]) * 20) for n in (0xC0, 0xC1, 0xC2))
DEFAULT_LIMITS = Limits()
TIMEOUT_S = 30.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until `condition` holds, or fail after `TIMEOUT_S`."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        os.sched_yield()


@dataclass
class Host:
    """One connection to an enclave, and what its host has."""

    path: Path
    contents: dict[bytes, bytes] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stream.settimeout(TIMEOUT_S)
        self.stream.connect(str(self.path))

    def publish(self, content: bytes) -> bytes:
        """Have `content`; its hash."""
        self.contents[keccak256(content)] = content
        return keccak256(content)

    def order(
        self,
        code: bytes,
        data: bytes = b"",
        *,
        engine: Engine = Engine.JS,
        limits: Limits = DEFAULT_LIMITS,
        capabilities: frozenset[str] = frozenset(),
        nonce: int = 1,
    ) -> Execute:
        """The order to run `code` on `data`."""
        manifest = Manifest(engine, limits, capabilities).encode()
        program = Program(engine, self.publish(manifest), self.publish(code))
        pool_id = Pool(Address(bytes(20)), 0, 0, 0).pool_id
        ids = (program.program_id, pool_id, keccak256(data))
        request = Request(CHAIN_ID, COPROCESSOR, CONSUMER, *ids, nonce, 1_700_000_000, 1_700_000_600, 100_000, 10**6)
        return Execute(request, engine, program.manifest_hash, program.code_hash, data, PAYEE)

    def send(self, message: HostMessage) -> None:
        """Send a message."""
        write_frame(self.stream, encode(message))

    def receive(self) -> EnclaveMessage:
        """The next message."""
        return parse_enclave_message(read_frame(self.stream))

    def ask(self, message: HostMessage) -> EnclaveMessage:
        """The answer to a message, after giving the enclave what it needs."""
        self.send(message)
        while isinstance(answer := self.receive(), Need):
            self.asked.append(answer.hash)
            self.send(Content(answer.hash, self.contents.get(answer.hash)))
        return answer


@dataclass
class EnclaveProcess:
    """The process and where it listens."""

    process: subprocess.Popen[str]
    path: Path

    def connect(self) -> Host:
        """A new connection."""
        return Host(self.path)

    def stop(self) -> None:
        """Kill it, if it still lives."""
        self.process.kill()
        self.process.wait()


def start(path: Path, *options: str, is_ready: bool = True) -> EnclaveProcess:
    """Start an enclave and wait until it serves."""
    command = [sys.executable, "-m", "oracle.enclave.main", "--socket", str(path), *options]
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root, env={"PATH": os.environ["PATH"]}
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == ("ready\n" if is_ready else ""), process.stderr and process.stderr.read()
    return EnclaveProcess(process, path)


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """A short path, as Unix sockets want it."""
    with tempfile.TemporaryDirectory(prefix="adyton-") as directory:
        yield Path(directory) / "private" / "enclave.sock"


@pytest.fixture(scope="module")
def enclave() -> Iterator[EnclaveProcess]:
    """One enclave for the tests of a module."""
    with tempfile.TemporaryDirectory(prefix="adyton-") as directory:
        running = start(Path(directory) / "enclave.sock", "--exit-with-parent")
        yield running
        assert running.process.poll() is None, "the enclave died"
        running.stop()


@pytest.fixture
def host(enclave: EnclaveProcess) -> Iterator[Host]:
    """A fresh connection to it."""
    connected = enclave.connect()
    yield connected
    connected.stream.close()


def is_alive(pid: int) -> bool:
    """Whether a process exists that is not merely waiting to be collected."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def kill(pid: int) -> None:
    """As an operator's kill -9."""
    os.kill(pid, signal.SIGKILL)
