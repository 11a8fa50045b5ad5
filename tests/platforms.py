"""
Fakes of the interfaces that enclaves get quotes from, as their kernels and agents behave. The development PKI quotes.

`FakeGramine` and `FakeConfigfs` are directories of real files and FIFOs, served by threads, so that a process that is
locked down can use them too.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import http.server
import json
import os
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2

from oracle.attestation.development.dcap import DevelopmentPki
from oracle.attestation.development.nitro import DevelopmentNitro
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.development.snp import DevelopmentSnp
from oracle.attestation.quoters.sev_guest import SNP_GET_DERIVED_KEY

BUILD = hashlib.sha256(b"a build").digest()
PKI = DevelopmentPki(b"platforms of tests", 1_780_000_000)
MRENCLAVE_KEY = bytes(range(1, 17))
_DEADLINE_S = 20.0
_IN_CREATE = 0x100


class _Fifo:
    """A FIFO that gives each reader what `content` returns, whole. A new one takes its place before a reader sees the
    end, because a reader that is slow to close would get the next reader's content too."""

    def __init__(self, path: Path, content: Callable[[], bytes]) -> None:
        self._path, self._content, self._stopped = path, content, False
        os.mkfifo(path)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            descriptor = os.open(self._path, os.O_WRONLY)
            if self._stopped:
                os.close(descriptor)
                return
            data = self._content()
            with contextlib.suppress(BrokenPipeError):
                while data:
                    data = data[os.write(descriptor, data) :]
            new = self._path.with_name(f".{self._path.name}")
            os.mkfifo(new)
            new.rename(self._path)
            os.close(descriptor)

    def stop(self) -> None:
        self._stopped = True
        while self._thread.is_alive():
            reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)  # wakes it
            self._thread.join(timeout=0.05)
            os.close(reader)


class FakeGramine:
    """`/dev/attestation` of an SGX enclave under Gramine, in `directory`."""

    def __init__(self, directory: Path, kind: str = "dcap", key: bytes | None = MRENCLAVE_KEY) -> None:
        self.directory = directory
        (directory / "keys").mkdir(parents=True)
        (directory / "attestation_type").write_text(kind)
        (directory / "user_report_data").write_bytes(bytes(64))
        if key is not None:
            (directory / "keys" / "_sgx_mrenclave").write_bytes(key)
        self.answer: Callable[[bytes], bytes] = lambda data: PKI.quote(QuoteKind.SGX_V3, data, BUILD)
        self._fifo = _Fifo(directory / "quote", self._quote)

    def _quote(self) -> bytes:
        return self.answer((self.directory / "user_report_data").read_bytes())

    def stop(self) -> None:
        self._fifo.stop()


class _FakeReport:
    """One directory of configfs-tsm: `inblob` is taken when it is closed, `outblob` waits for it."""

    def __init__(self, path: Path, owner: FakeConfigfs) -> None:
        self._path, self._owner = path, owner
        self._generation, self._served, self._inblob = 0, 0, b""
        self._changed = threading.Condition()
        os.mkfifo(path / "inblob")
        self._write_generation()
        if owner.auxblob is not None:
            (path / "auxblob").write_bytes(owner.auxblob)
        threading.Thread(target=self._take, daemon=True).start()
        self._fifo = _Fifo(path / "outblob", self._report)
        (path / ".provider").write_text(owner.provider + "\n")
        (path / ".provider").rename(path / "provider")  # the last, for whoever waits

    def _take(self) -> None:
        while True:
            with (self._path / "inblob").open("rb") as file:
                data = file.read()
            with self._changed:
                self._inblob, self._generation = data, self._generation + 1
                if self._owner.interferences:
                    self._owner.interferences -= 1
                    self._inblob, self._generation = hashlib.sha512(b"other").digest(), self._generation + 1
                self._write_generation()
                self._changed.notify_all()

    def _write_generation(self) -> None:
        new = self._path / ".generation"
        new.write_text(f"{self._generation}\n")
        new.rename(self._path / "generation")

    def _report(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._generation != self._served, timeout=_DEADLINE_S)
            self._served = self._generation
            return self._owner.answer(self._inblob)


class FakeConfigfs:
    """`/sys/kernel/config/tsm/report` of a guest, in `directory`. Whoever makes a directory gets attributes in it."""

    def __init__(self, directory: Path, provider: str = "tdx_guest") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.provider, self.interferences = directory, provider, 0
        self.auxblob: bytes | None = None
        self.answer: Callable[[bytes], bytes] = lambda data: PKI.quote(QuoteKind.TDX_V4, data, BUILD)
        self.reports: list[_FakeReport] = []
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_CLOEXEC)
        assert libc.inotify_add_watch(self._watch, os.fsencode(directory), _IN_CREATE) >= 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while events := os.read(self._watch, 4096):
            while events:
                (size,) = struct.unpack_from("<I", events, 12)
                name = events[16 : 16 + size].rstrip(b"\0").decode()
                self.reports.append(_FakeReport(self.directory / name, self))
                events = events[16 + size :]


def kernel_mkdir(root: Path) -> Callable[..., None]:
    """`os.mkdir` that returns when the attributes are there, as configfs at `root` does it."""
    original = os.mkdir

    def mkdir(path: Any, mode: int = 0o777) -> None:
        original(path, mode)
        deadline = time.monotonic() + _DEADLINE_S
        while Path(path).parent == root and not (Path(path) / "provider").exists():
            assert time.monotonic() < deadline, "nobody serves this directory"
            os.sched_yield()

    return mkdir


@dataclass
class FakeDstackAgent:
    """The dstack guest agent: HTTP over a Unix socket. `hang_up` closes the connection after each answer."""

    socket: Path
    hang_up: bool = False
    status: int = 200
    application: bytes = b"an application"
    answer: Callable[[bytes], bytes] = lambda data: PKI.quote(QuoteKind.TDX_V4, data, BUILD)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        agent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(agent.serve(self.path, payload)).encode()
                self.send_response(agent.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if agent.hang_up:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_: object) -> None: ...

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Server(str(self.socket), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def serve(self, method: str, payload: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((method, payload))
        if method == "/GetKey":
            material = json.dumps([payload["path"], payload["purpose"]]).encode() + self.application
            return {"key": hashlib.sha256(material).hexdigest(), "signature_chain": []}
        assert method == "/GetQuote"
        data = bytes.fromhex(payload["report_data"])
        event = {"imr": 3, "event_type": 1, "digest": "00" * 48, "event": "app-id", "event_payload": ""}
        return {"quote": self.answer(data).hex(), "event_log": json.dumps([event]), "report_data": data.hex()}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class FakeDevices:
    """`fcntl.ioctl` of a kernel with /dev/nsm and /dev/sev-guest; any open file can stand for the device."""

    NSM = 0xC020_0A00

    def __init__(self) -> None:
        self.nitro = DevelopmentNitro(b"platforms of tests", 1_780_000_000)
        self.nsm_answer: Callable[[dict[str, Any]], Any] = self._document
        self.chip, self.measurement, self.status = b"a chip", b"a measurement", 0

    def ioctl(self, _file: object, operation: int, argument: Any) -> int:
        if operation == self.NSM:
            request = cbor2.loads(ctypes.string_at(argument.request.iov_base, argument.request.iov_len))
            response = cbor2.dumps(self.nsm_answer(request))
            if len(response) > argument.response.iov_len:
                raise OSError(90, "Message too long")
            ctypes.memmove(argument.response.iov_base, response, len(response))
            argument.response.iov_len = len(response)
            return 0
        assert operation == SNP_GET_DERIVED_KEY
        version, request_at, response_at, _ = struct.unpack("<B7xQQQ", argument)
        root, _, fields, vmpl, svn, tcb = struct.unpack("<IIQIIQ", ctypes.string_at(request_at, 32))
        assert version == 1
        mixed = self.measurement if fields & 1 << 3 else b""
        key = hashlib.sha256(repr((self.chip, root, fields, vmpl, svn, tcb, mixed)).encode()).digest()
        ctypes.memmove(response_at, struct.pack("<I28x", self.status) + key, 64)
        return 0

    def _document(self, request: dict[str, Any]) -> dict[str, Any]:
        asked = request["Attestation"]
        document = self.nitro.document(
            asked["user_data"], self.nitro.pcrs(BUILD), nonce=asked["nonce"], public_key=asked["public_key"]
        )
        return {"Attestation": {"document": document}}


@functools.cache
def snp_machine() -> DevelopmentSnp:
    """An SEV-SNP machine; its root is drawn anew in each process."""
    return DevelopmentSnp(b"platforms of tests")
