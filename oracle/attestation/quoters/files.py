"""Read and write a platform's files with nothing but openat, read, write and close, which is what lock-down leaves."""

from __future__ import annotations

import os
from pathlib import Path

from oracle.errors import QuoteError

_CHUNK_BYTES = 16 << 10


def read_file(path: Path, limit: int) -> bytes:
    """
    All that `path` gives until its end.

    Raises:
        OSError: it cannot be opened or read.
        QuoteError: it gives more than `limit` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = b""
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            data += chunk
            if len(data) > limit:
                raise QuoteError(f"{path} gives more than {limit} bytes")
        return data
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """
    Write `data` to a file that exists, in one call, without truncating it: the kernel takes attributes whole.

    Raises:
        OSError: it cannot be opened or written.
        QuoteError: not all of it was taken.
    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        if os.write(descriptor, data) != len(data):
            raise QuoteError(f"{path} did not take all {len(data)} bytes")
    finally:
        os.close(descriptor)
