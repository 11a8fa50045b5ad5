"""How a job ends: a result that becomes a receipt, or a failure of the host that becomes an error and no receipt."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.errors import AdytonError
from oracle.types.receipt import MAX_REASON_BYTES, Outcome
from oracle.types.transcript import Fetched


class StoppedError(AdytonError):
    """The program's own doing, or its limits': the job is over with this outcome, and a receipt says so."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class HostError(AdytonError):
    """The host's doing: no receipt, an error reply with this code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Result:
    """What the receipt of a job will say."""

    outcome: Outcome
    output: bytes  # the program's, or the reason
    fuel_used: int
    logs: tuple[str, ...] = ()
    transcript: tuple[Fetched, ...] = ()  # what was fetched, whatever the outcome

    @classmethod
    def stopped(cls, error: StoppedError, fuel_used: int = 0, logs: tuple[str, ...] = ()) -> Result:
        """The result of a job that `error` ended. No fuel is charged for what another host might not have repeated."""
        fuel = fuel_used if error.outcome.is_deterministic else 0
        return cls(error.outcome, reason_bytes(error.reason), fuel, logs)


def reason_bytes(text: str) -> bytes:
    """`text` as UTF-8 of at most `MAX_REASON_BYTES` bytes, cut between characters."""
    data = text.encode("utf-8", "replace")
    return data[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
