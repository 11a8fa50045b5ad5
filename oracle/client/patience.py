"""How long to go on against a chain that cannot be read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from oracle.errors import RetryableError


@dataclass(slots=True)
class Patience:
    """Bears failures as long as no more than `give_up_after_s` passes without a success."""

    give_up_after_s: float = 60.0
    now_s: Callable[[], float] = time.monotonic
    _failing_since_s: float | None = None

    def failed(self, error: RetryableError) -> None:
        """Note a failure. Raises `error` if that has been so for too long."""
        if self._failing_since_s is None:
            self._failing_since_s = self.now_s()
        if self.now_s() - self._failing_since_s >= self.give_up_after_s:
            raise error

    def succeeded(self) -> None:
        """Note a success."""
        self._failing_since_s = None
