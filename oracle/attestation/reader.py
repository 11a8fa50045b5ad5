"""Reading binary formats: every read says what it reads, and past the end is an `EncodingError`, whatever the bytes."""

from __future__ import annotations

from oracle.errors import EncodingError, LimitExceededError


class ByteReader:
    """A position in bytes that only moves forward. All integers are little-endian."""

    __slots__ = ("_bytes", "offset")

    def __init__(self, content: bytes) -> None:
        self._bytes = content
        self.offset = 0

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self._bytes) - self.offset

    def take(self, size: int, what: str) -> bytes:
        """
        The next `size` bytes.

        Raises:
            EncodingError: there are fewer.
        """
        if size > self.remaining:
            raise EncodingError(f"{what} takes {size} bytes, {self.remaining} are left at offset {self.offset}")
        start = self.offset
        self.offset += size
        return self._bytes[start : self.offset]

    def integer(self, size: int, what: str) -> int:
        """The next unsigned integer of `size` bytes. Raises as `take`."""
        return int.from_bytes(self.take(size, what), "little")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.remaining, "the rest")


def require_size(content: bytes, limit: int, what: str) -> None:
    """
    Refuse more bytes than that.

    Raises:
        LimitExceededError: it is longer.
    """
    if len(content) > limit:
        raise LimitExceededError(f"{what} (bytes)", limit, len(content))
