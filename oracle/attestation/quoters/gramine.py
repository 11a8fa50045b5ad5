"""
SGX under Gramine: write report data to one file, read the quote from another.

    attestation_type    `dcap`, or `none` if the manifest has no sgx.remote_attestation
    user_report_data    64 bytes in
    quote               a DCAP quote version 3 over them
    keys/_sgx_mrenclave 16 bytes that this enclave's code gets on this processor, and no other code

The files are the process's own: no other process can interfere, but threads can, so there is one lock.
Source: Gramine documentation, "Attestation and Secret Provisioning".
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from oracle.attestation.quoter import MAX_QUOTE_BYTES, Evidence, Needs
from oracle.attestation.quoters.checks import check_quote, measurement_of, padded
from oracle.attestation.quoters.files import read_file, write_file
from oracle.attestation.quoters.sealing import derive_sealing_key
from oracle.errors import QuoteError, SealingError
from oracle.types.attestation import TeeKind
from oracle.types.ids import MeasurementId

GRAMINE_DIR: Final = Path("/dev/attestation")
_KEY_BYTES: Final = 16
_TYPE_BYTES: Final = 64


class GramineQuoter:
    """Quotes of the SGX enclave that Gramine runs us in."""

    name = "gramine"

    def __init__(self, directory: Path = GRAMINE_DIR) -> None:
        """
        Look whether Gramine offers DCAP.

        Raises:
            QuoteError: it does not.
        """
        self._directory, self._data, self._quote = directory, directory / "user_report_data", directory / "quote"
        self._key = directory / "keys" / "_sgx_mrenclave"
        self._lock = threading.Lock()
        try:
            kind = read_file(directory / "attestation_type", _TYPE_BYTES).decode("ascii", "replace").strip("\0\n ")
        except OSError as error:
            raise QuoteError(f"Gramine offers no attestation in {directory}: {error.strerror}") from error
        if kind != "dcap":
            raise QuoteError(
                f"Gramine's attestation type is {kind!r}: set sgx.remote_attestation = 'dcap' in the manifest"
            )

    @property
    def needs(self) -> Needs:
        """Files of one directory, opened anew each time: Gramine takes report data when the file is closed."""
        return Needs((self._directory,), (self._data,), frozenset({"openat"}))

    def measurement(self) -> MeasurementId:
        """From a quote over zeros."""
        return measurement_of(TeeKind.SGX, self.quote(bytes(32)))

    def evidence(self, report_data: bytes) -> Evidence:
        """A quote version 3."""
        try:
            with self._lock:
                write_file(self._data, padded(report_data))
                quote = read_file(self._quote, MAX_QUOTE_BYTES)
        except OSError as error:
            raise QuoteError(f"Gramine gives no quote: {error.strerror} ({error.filename})") from error
        check_quote(TeeKind.SGX, quote, report_data)
        return Evidence(TeeKind.SGX, quote)

    def quote(self, report_data: bytes) -> bytes:
        """A quote version 3."""
        return self.evidence(report_data).quote

    def sealing_key(self, purpose: str) -> bytes:
        """From the key that the processor derives for MRENCLAVE."""
        try:
            secret = read_file(self._key, 2 * _KEY_BYTES)
        except OSError as error:
            raise SealingError(f"Gramine gives no sealing key: {error.strerror} ({error.filename})") from error
        return derive_sealing_key(secret, self.name, purpose, size=_KEY_BYTES)
