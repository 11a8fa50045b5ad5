"""
TDX guests under dstack: the guest agent quotes and derives keys, HTTP over a Unix socket.

Keys come from dstack's key service by application and path, so they are the same on every machine of the application;
the application's identity covers its compose file. Takes the package dstack-sdk (extra `dstack`), imported when a
quoter is made; its first request, before lock-down, loads the rest of it.
"""

from __future__ import annotations

import threading
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from oracle.attestation.quoter import Evidence, Needs
from oracle.attestation.quoters.checks import check_quote, measurement_of, padded
from oracle.attestation.quoters.sealing import derive_sealing_key
from oracle.errors import QuoteError, SealingError
from oracle.types.attestation import TeeKind
from oracle.types.ids import MeasurementId

DSTACK_SOCKETS: Final = (Path("/var/run/dstack.sock"), Path("/var/run/dstack/dstack.sock"))
KEY_PATH: Final = "adyton/sealing/v1"
_KEY_BYTES: Final = 32
_TIMEOUT_S: Final = 20.0


class DstackQuoter:
    """Quotes of the trust domain that dstack runs us in."""

    name = "dstack"
    needs = Needs(system_calls=frozenset({"socket", "connect"}))  # to connect again when the agent has hung up

    def __init__(self, socket: Path = DSTACK_SOCKETS[0]) -> None:
        """
        Connect to the agent.

        Raises:
            QuoteError: the package is not installed, there is no such socket, or the agent does not quote.
        """
        try:
            sdk: Any = import_module("dstack_sdk")  # optional
        except ImportError as error:
            raise QuoteError("the dstack quoter takes the package dstack-sdk: install adyton[dstack]") from error
        self._lock = threading.Lock()
        try:
            self._client: Any = sdk.DstackClient(str(socket), timeout=_TIMEOUT_S)
        except OSError as error:
            raise QuoteError(f"no dstack agent at {socket}: {error}") from error
        self._measurement = measurement_of(TeeKind.TDX, self.quote(bytes(31) + b"\1"))

    def measurement(self) -> MeasurementId:
        """From the quote that was asked for at the start."""
        return self._measurement

    def evidence(self, report_data: bytes) -> Evidence:
        """A TDX quote and the agent's event log."""
        answer = self._ask("get_quote", padded(report_data))
        try:
            quote, event_log = bytes.fromhex(answer.quote), str(answer.event_log)
        except (AttributeError, TypeError, ValueError) as error:
            raise QuoteError("the dstack agent's answer has no quote") from error
        check_quote(TeeKind.TDX, quote, report_data)
        return Evidence(TeeKind.TDX, quote, event_log=event_log)

    def quote(self, report_data: bytes) -> bytes:
        """A TDX quote."""
        return self.evidence(report_data).quote

    def sealing_key(self, purpose: str) -> bytes:
        """From the key that dstack's key service derives for this application."""
        try:
            secret = bytes.fromhex(self._ask("get_key", KEY_PATH, "sealing").key)
        except (AttributeError, TypeError, ValueError) as error:
            raise SealingError("the dstack agent's answer has no key") from error
        except QuoteError as error:
            raise SealingError(str(error)) from error
        return derive_sealing_key(secret, self.name, purpose, size=_KEY_BYTES)

    def _ask(self, method: str, *arguments: object) -> Any:
        """The agent's answer. The SDK has no errors of its own: whatever it raises means that there is none."""
        try:
            with self._lock:
                return getattr(self._client, method)(*arguments)
        except Exception as error:
            raise QuoteError(f"the dstack agent does not answer {method}: {type(error).__name__}: {error}") from error
