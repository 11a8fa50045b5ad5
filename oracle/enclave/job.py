"""
What one job may see and do, the same for both engines: facts of the request, input, output, log, blobs, chance, web.

- Everything a program can read is a function of the request, its input and the blobs that it names by hash; and of
  what it fetched, to which the receipt commits.
- Work of the host for a program is paid in fuel, so a program cannot buy the enclave's time with host calls.
- Output over its cap ends the job; log over its cap is dropped. Waiting for the host does not count as time.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from oracle.crypto.hashing import keccak256
from oracle.enclave.outcome import StoppedError
from oracle.enclave.sandbox import TICK_S, Guest
from oracle.enclave.web.session import Answer, Session
from oracle.types.ids import RequestId, hex_of
from oracle.types.program import Capability, Limits
from oracle.types.receipt import Outcome
from oracle.types.request import Request

HOST_CALL_FUEL: Final = 10_000  # about 3 µs of the host
COPY_FUEL_PER_BYTE: Final = 1
HASH_FUEL_PER_BYTE: Final = 16
BLOB_FUEL: Final = 200_000
BLOB_FUEL_PER_BYTE: Final = HASH_FUEL_PER_BYTE
RANDOM_FUEL_PER_BYTE: Final = 200
MAX_BLOBS: Final = 64  # different ones per job
MAX_BLOB_BYTES: Final = 32 << 20  # all of a job's together
MAX_LOG_LINES: Final = 4_096
RANDOM_DOMAIN: Final = keccak256(b"Adyton random v1")

_Got = TypeVar("_Got")
ContentSource = Callable[[bytes], bytes]  # hash -> the bytes that hash to it; raises HostError


class RandomStream:
    """Block i of the stream is `keccak256(seed || i as u64 little-endian)`. Whoever knows the seed knows the stream."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._blocks = 0
        self._left = b""

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        parts = [self._left]
        have = len(self._left)
        while have < size:
            parts.append(keccak256(self.seed + struct.pack("<Q", self._blocks)))
            self._blocks += 1
            have += 32
        data = b"".join(parts)
        self._left = data[size:]
        return data[:size]


@dataclass(slots=True)
class Job:
    """One run of `main`, or (without a request) of a JavaScript program's top level."""

    limits: Limits
    capabilities: frozenset[str]
    request: Request | None = None
    request_id: RequestId = RequestId(bytes(32))  # noqa: RUF009  # bytes do not change
    input: bytes = b""
    content: ContentSource | None = None
    web: Session | None = None
    output: bytearray = field(default_factory=bytearray)
    finished: bool = False
    logs: list[str] = field(default_factory=list)
    input_read: int = 0  # bytes that WASI's standard input has given
    staged: bytes = b""  # what a JavaScript program takes into an array of its own next
    fetched: Answer | None = None  # what a WebAssembly program reads
    random: RandomStream = field(init=False)
    _log_bytes: int = 0
    _blobs: dict[bytes, bytes] = field(default_factory=dict)
    _clock_start: float = 0.0

    def __post_init__(self) -> None:
        """Seed the stream of chance."""
        self.random = RandomStream(keccak256(RANDOM_DOMAIN + self.request_id))

    @property
    def now_ns(self) -> int:
        """The only time a program sees: when its request was made, unix nanoseconds. 64 bits."""
        return (self.request.created_at_s * 10**9 if self.request else 0) % 2**64

    def start_clock(self, guest: Guest) -> None:
        """Let the wall-time limit begin now."""
        self._clock_start = time.monotonic()
        guest.set_time_limit(_ticks(self.limits.wall_time_ms / 1_000))

    def log(self, text: bytes) -> None:
        """Keep a line of log as far as the cap allows."""
        room = self.limits.log_bytes - self._log_bytes
        if room <= 0 or len(self.logs) >= MAX_LOG_LINES or self.request is None:
            return
        self._log_bytes += len(text)
        self.logs.append(text[:room].decode("utf-8", "replace"))

    def write(self, data: bytes) -> None:
        """
        Append to the output.

        Raises:
            StoppedError: OutputTooLarge.
        """
        if len(self.output) + len(data) > self.limits.output_bytes:
            size = f"at least {len(self.output) + len(data)} bytes"
            raise StoppedError(
                Outcome.OUTPUT_TOO_LARGE, f"the output has {size}, the manifest allows {self.limits.output_bytes}"
            )
        self.output += data

    def blob(self, guest: Guest, content_hash: bytes) -> bytes:
        """
        The content behind a hash, checked against it.

        Raises:
            StoppedError: the manifest does not name the capability, or the program reads too many or too large blobs.
            HostError: the host does not have it, or gave something else.
        """
        if Capability.BLOB not in self.capabilities or self.content is None:
            raise StoppedError(Outcome.DENIED, "the manifest does not name the capability 'blob'")
        known = self._blobs.get(content_hash)
        if known is not None:
            return known
        if len(self._blobs) >= MAX_BLOBS:
            raise StoppedError(Outcome.DENIED, f"a job may read {MAX_BLOBS} blobs")
        guest.charge(BLOB_FUEL)
        content = self.content
        data = self._waiting(guest, lambda: content(content_hash))
        if len(data) + sum(map(len, self._blobs.values())) > MAX_BLOB_BYTES:
            raise StoppedError(Outcome.DENIED, f"a job may read {MAX_BLOB_BYTES} bytes of blobs")
        guest.charge(BLOB_FUEL_PER_BYTE * len(data))
        self._blobs[content_hash] = data
        return data

    def fetch(self, guest: Guest, head: bytes, body: bytes) -> Answer:
        """
        What a server on the web answered, or why there is no answer; as `oracle.enclave.web.heads` writes both.

        Raises:
            StoppedError: the manifest does not name the capability, or fuel ran out.
            HostError, OSError: the channel to the host failed.
        """
        web = self.web
        if web is None:
            raise StoppedError(Outcome.DENIED, "the manifest does not name the capability 'fetch'")
        return self._waiting(guest, lambda: web.fetch(head, body, guest.charge, self.log))

    def _waiting(self, guest: Guest, work: Callable[[], _Got]) -> _Got:
        """What `work` gives, with the clock stopped."""
        waits_from = time.monotonic()
        got = work()
        now = time.monotonic()
        self._clock_start += now - waits_from
        guest.set_time_limit(_ticks(self.limits.wall_time_ms / 1_000 - (now - self._clock_start)))
        return got

    def facts(self) -> str:
        """
        What a JavaScript program sees as `request`, and the seed of its Math.random: words that the prelude splits.

        Parsing this as JSON would cost more than many a program.
        """
        request = self.request
        assert request is not None
        ids = (self.request_id, request.coprocessor, request.consumer, request.program_id, request.pool_id)
        terms = (request.created_at_s, request.deadline_s, request.callback_gas, request.max_fee_gwei)
        seed = struct.unpack("<4I", self.random.seed[:16])
        words = [hex_of(value) for value in (*ids, request.input_hash)]
        words += [str(value) for value in (request.chain_id, request.nonce, *terms, *seed)]
        return " ".join(words)


def _ticks(seconds: float) -> int:
    """Rounded up, and one more: the first tick may come at once."""
    return max(0, int(seconds / TICK_S)) + 2
