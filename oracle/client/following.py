"""A stream as a Python iterator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Self

from oracle.client.streaming import Cursor, End, Item, Stream


class Following(Iterator[Item]):
    """Items as they come. The next one is waited for, unless the stream ends at the head."""

    def __init__(self, stream: Stream, poll_s: float) -> None:
        self._stream = stream
        self._poll_s = poll_s

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> Item:
        """
        The next item.

        Raises:
            CursorLostError, RetryableError: as `Stream.step`.
        """
        while (found := self._stream.step()) is None:
            time.sleep(self._poll_s)
        if isinstance(found, End):
            raise StopIteration
        return found

    @property
    def cursor(self) -> Cursor:
        """Where to go on after a restart; it covers an item once the next one was asked for."""
        return self._stream.cursor
