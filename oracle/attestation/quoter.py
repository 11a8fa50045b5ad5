"""
Quotes: signed evidence that a key lives in a measured enclave.

A `Quoter` is what an enclave needs of the platform under it, whatever that is; `oracle.attestation.quoters` has one per
platform, and `quoters.detection` chooses. A quoter is made before the enclave gives up its privileges and works after:
it opens what it can beforehand and declares in `needs` what it must still be allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from oracle.types.attestation import TeeKind
from oracle.types.ids import MeasurementId

REPORT_DATA_BYTES: Final = 32
MAX_QUOTE_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Needs:
    """What a quoter does after lock-down that enclaves otherwise may not. Directories mean all that is in them."""

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    system_calls: frozenset[str] = frozenset()  # of `oracle.enclave.lockdown.EXTRA_CALLS`


@dataclass(frozen=True, slots=True)
class Evidence:
    """A quote, and what the platform handed over to verify it with. None of it is verified here."""

    kind: TeeKind
    quote: bytes
    certificates: bytes = b""  # SEV-SNP: the host's certificate table
    event_log: str = ""  # dstack: JSON, what RTMR 3 was extended with


class Quoter(Protocol):
    """What an enclave needs of the platform under it. Methods may be called from several threads."""

    @property
    def name(self) -> str:
        """Which platform interface; `simulated` and `development` vouch for nothing."""
        ...

    @property
    def needs(self) -> Needs:
        """What lock-down must leave."""
        ...

    def measurement(self) -> MeasurementId:
        """
        What governance approves for this build on this kind of platform, as the platform itself reports it.

        Raises:
            QuoteError: there is no quote to be had.
        """
        ...

    def evidence(self, report_data: bytes) -> Evidence:
        """
        A quote over 32 bytes of report data, and what comes with it.

        Raises:
            QuoteError: there is none to be had, or it is not over `report_data`.
        """
        ...

    def quote(self, report_data: bytes) -> bytes:
        """The quote of `evidence(report_data)`."""
        ...

    def sealing_key(self, purpose: str) -> bytes:
        """
        32 bytes that this build gets again after a restart and another build does not.

        Raises:
            SealingError: the platform has no such key.
        """
        ...
