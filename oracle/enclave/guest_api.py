"""
What WebAssembly programs import from the modules `adyton` and `env`. See `docs/PROGRAMS.md`.

Every function charges fuel for the call and for the bytes it moves, before it moves them; pointers outside memory end
the job as Trapped.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from oracle.crypto.eip712 import word
from oracle.crypto.hashing import keccak256
from oracle.enclave.job import COPY_FUEL_PER_BYTE, HASH_FUEL_PER_BYTE, HOST_CALL_FUEL, Job
from oracle.enclave.outcome import StoppedError
from oracle.enclave.sandbox import Guest, Sandbox
from oracle.types.receipt import Outcome
from oracle.types.request import Request

MODULE: Final = "adyton"
UNKNOWN_FACT: Final = 0xFFFF_FFFF
_MAX_ABORT_BYTES = 1_024  # of an AssemblyScript string that becomes a reason

FACTS: Final[tuple[Callable[[Job, Request], bytes], ...]] = (
    lambda job, _: job.request_id,
    lambda _, request: word(request.chain_id),
    lambda _, request: request.coprocessor,
    lambda _, request: request.consumer,
    lambda _, request: request.program_id,
    lambda _, request: request.pool_id,
    lambda _, request: request.input_hash,
    lambda _, request: struct.pack("<Q", request.nonce),
    lambda _, request: struct.pack("<Q", request.created_at_s),
    lambda _, request: struct.pack("<Q", request.deadline_s),
    lambda _, request: struct.pack("<Q", request.callback_gas),
    lambda _, request: struct.pack("<Q", request.max_fee_gwei),
)


def define_guest_api(sandbox: Sandbox) -> None:
    """Let the guests of `sandbox` import the functions of this module."""
    functions: dict[str, tuple[str, Callable[..., int | None]]] = {
        "input_size": (">i", lambda guest: len(guest.job.input)),
        "input_read": ("iii>i", lambda guest, to, offset, size: _copy(guest, guest.job.input, to, offset, size)),
        "output": ("ii>", lambda guest, at, size: guest.job.write(_read(guest, at, size))),
        "log": ("ii>", lambda guest, at, size: guest.job.log(_read(guest, at, size))),
        "fact": ("ii>i", _fact),
        "blob_size": ("i>l", lambda guest, at: len(_blob(guest, at))),
        "blob_read": ("iiii>i", lambda guest, at, *rest: _copy(guest, _blob(guest, at), *rest)),
        "keccak256": ("iii>", _keccak256),
        "fetch": ("iiii>i", _fetch),
        "fetch_size": ("i>i", lambda guest, part: len(_fetched(guest, part))),
        "fetch_read": ("iiii>i", lambda guest, part, *rest: _copy(guest, _fetched(guest, part), *rest)),
        "fail": ("ii>", _fail),
    }
    for name, (signature, body) in functions.items():
        sandbox.define(MODULE, name, signature, _charged(body))
    sandbox.define("env", "abort", "iiii>", _charged(_abort))


def _charged(body: Callable[..., int | None]) -> Callable[..., int | None]:
    def charged(guest: Guest, *arguments: int) -> int | None:
        guest.charge(HOST_CALL_FUEL)
        return body(guest, *arguments)

    return charged


def _read(guest: Guest, at: int, size: int) -> bytes:
    guest.charge(COPY_FUEL_PER_BYTE * size)
    return guest.read(at, size)


def _copy(guest: Guest, source: bytes, to: int, offset: int, size: int) -> int:
    """Copy `source[offset:offset + size]`, as far as it goes, to guest memory; the number of bytes copied."""
    data = source[offset : offset + size]
    guest.charge(COPY_FUEL_PER_BYTE * len(data))
    guest.write(to, data)
    return len(data)


def _blob(guest: Guest, hash_at: int) -> bytes:
    job: Job = guest.job
    return job.blob(guest, guest.read(hash_at, 32))


def _fact(guest: Guest, number: int, to: int) -> int:
    request = guest.job.request
    if number >= len(FACTS):
        return UNKNOWN_FACT
    data = FACTS[number](guest.job, request)
    guest.write(to, data)
    return len(data)


def _keccak256(guest: Guest, at: int, size: int, to: int) -> None:
    guest.charge(HASH_FUEL_PER_BYTE * size)
    guest.write(to, keccak256(_read(guest, at, size)))


def _fetch(guest: Guest, head_at: int, head_size: int, body_at: int, body_size: int) -> int:
    """The status, or 0 if there is no answer."""
    job: Job = guest.job
    job.fetched = job.fetch(guest, _read(guest, head_at, head_size), _read(guest, body_at, body_size))
    return job.fetched.status


def _fetched(guest: Guest, part: int) -> bytes:
    """Of the last fetch: 0 the body, or why it failed; 1 the head."""
    answer = guest.job.fetched
    if answer is None or part > 1:
        raise StoppedError(Outcome.TRAPPED, f"there is no part {part} of a fetch")
    return bytes(answer.head if part else answer.body)


def _fail(guest: Guest, at: int, size: int) -> None:
    raise StoppedError(Outcome.TRAPPED, _read(guest, at, size).decode("utf-8", "replace"))


def _abort(guest: Guest, message: int, file: int, line: int, column: int) -> None:
    """AssemblyScript's abort: pointers to UTF-16 strings whose byte length stands before them; null for none."""
    where = f" ({_utf16(guest, file)}:{line}:{column})" if file else ""
    raise StoppedError(Outcome.TRAPPED, f"abort: {_utf16(guest, message) if message else ''}{where}")


def _utf16(guest: Guest, at: int) -> str:
    (size,) = struct.unpack("<I", guest.read(at - 4, 4))
    return _read(guest, at, min(size, _MAX_ABORT_BYTES)).decode("utf-16-le", "replace")
