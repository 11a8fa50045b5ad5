"""An enclave process and the least host that can drive it, for measuring."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

from oracle.crypto.hashing import keccak256
from oracle.enclave.protocol import (
    Content,
    Execute,
    Need,
    ReceiptReply,
    encode,
    parse_enclave_message,
    read_frame,
    write_frame,
)
from oracle.types.ids import Address
from oracle.types.pool import Pool
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.types.receipt import Outcome
from oracle.types.request import Request

_ACCOUNT = Address(bytes(range(20)))
_FREE_POOL = Pool(_ACCOUNT, 0, 0, 0)


class Enclave:
    """Use it as a context manager: the process ends with it."""

    def __init__(self, process: subprocess.Popen[str], stream: socket.socket) -> None:
        self._process = process
        self._stream = stream
        self._contents: dict[bytes, bytes] = {}

    @classmethod
    def start(cls, path: Path) -> Self:
        """Start a locked enclave and connect."""
        command = [sys.executable, "-m", "oracle.enclave.main", "--socket", str(path), "--exit-with-parent"]
        root = Path(__file__).parents[1]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root)
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise SystemExit("the enclave does not start: run `python -m oracle.enclave.main --socket PATH` to see why")
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.connect(str(path))
        return cls(process, stream)

    def __enter__(self) -> Self:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._stream.close()
        self._process.kill()
        self._process.wait()

    def order(self, code: bytes, data: bytes, engine: Engine) -> Execute:
        """The order to run `code` on `data`, free of charge."""
        manifest = Manifest(engine, Limits()).encode()
        program = Program(engine, keccak256(manifest), keccak256(code))
        self._contents |= {program.manifest_hash: manifest, program.code_hash: code}
        ids = (program.program_id, _FREE_POOL.pool_id, keccak256(data))
        times = (1_700_000_000, 1_700_000_600)
        request = Request(31337, _ACCOUNT, _ACCOUNT, *ids, 1, *times, 100_000, 1)
        return Execute(request, engine, program.manifest_hash, program.code_hash, data, _ACCOUNT)

    def output(self, order: Execute) -> bytes:
        """The output of a job, which must complete."""
        write_frame(self._stream, encode(order))
        while isinstance(reply := parse_enclave_message(read_frame(self._stream)), Need):
            write_frame(self._stream, encode(Content(reply.hash, self._contents.get(reply.hash))))
        if not isinstance(reply, ReceiptReply) or reply.outcome is not Outcome.COMPLETED:
            raise SystemExit(f"the enclave fails: {reply}")
        return reply.output
