"""
TDX and SEV-SNP guests through the kernel's configfs-tsm, Linux 6.7 or later.

A report is a directory: write `inblob` (taken when the file is closed), read `outblob`. Each change of its options
advances `generation`; a report read after exactly one advance is ours alone. The directory is made before lock-down and
kept, so that afterwards only its files must be opened.

Source: Linux, Documentation/ABI/testing/configfs-tsm-report.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import Final

from oracle.attestation.quoter import MAX_QUOTE_BYTES, Evidence, Needs
from oracle.attestation.quoters.checks import check_quote, measurement_of, padded
from oracle.attestation.quoters.files import read_file, write_file
from oracle.attestation.quoters.sev_guest import SevGuest
from oracle.errors import QuoteError, SealingError
from oracle.types.attestation import TeeKind
from oracle.types.ids import MeasurementId

TSM_DIR: Final = Path("/sys/kernel/config/tsm/report")
ATTEMPTS: Final = 5
_PREFIX: Final = "adyton-"
_KINDS: Final = {"tdx_guest": TeeKind.TDX, "sev_guest": TeeKind.SEV_SNP}
_SHORT_BYTES: Final = 64
_INTERFERENCE: Final = frozenset({errno.EBUSY, errno.EWOULDBLOCK})


class ConfigfsQuoter:
    """Quotes of the trust domain or SEV-SNP guest whose kernel this is."""

    name = "configfs"

    def __init__(self, directory: Path = TSM_DIR, sev_guest: SevGuest | None = None) -> None:
        """
        Make our report directory.

        Raises:
            QuoteError: the kernel does not let us, or has a provider that we do not know.
        """
        self._lock = threading.Lock()
        self._report = directory / f"{_PREFIX}{os.getpid()}"
        try:
            _remove_stale(directory)
            self._report.mkdir()
            provider = read_file(self._report / "provider", _SHORT_BYTES).decode("ascii", "replace").strip()
        except OSError as error:
            raise QuoteError(f"the kernel offers no reports in {directory}: {error.strerror}") from error
        if provider not in _KINDS:
            self.close()
            raise QuoteError(f"the kernel's report provider {provider!r} is none of {', '.join(_KINDS)}")
        self.kind = _KINDS[provider]
        self._sev_guest = (sev_guest or SevGuest()) if self.kind is TeeKind.SEV_SNP else None

    @property
    def needs(self) -> Needs:
        """The files of our report directory."""
        return Needs((self._report,), (self._report,), frozenset({"openat"}))

    def measurement(self) -> MeasurementId:
        """From a quote over zeros."""
        return measurement_of(self.kind, self.quote(bytes(32)))

    def evidence(self, report_data: bytes) -> Evidence:
        """A TDX quote, or an SEV-SNP report with the host's certificate table. Tried again if others interfere."""
        inblob = padded(report_data)
        for _ in range(ATTEMPTS):
            with self._lock:
                read = self._read(inblob)
            if read is not None:
                quote, certificates = read
                check_quote(self.kind, quote, report_data)
                return Evidence(self.kind, quote, certificates)
        raise QuoteError(f"something else keeps writing to {self._report}: {ATTEMPTS} reports were not ours alone")

    def quote(self, report_data: bytes) -> bytes:
        """The quote or report alone."""
        return self.evidence(report_data).quote

    def _read(self, inblob: bytes) -> tuple[bytes, bytes] | None:
        """Report and certificates; None if something interfered."""
        try:
            before = self._generation()
            write_file(self._report / "inblob", inblob)
            quote = read_file(self._report / "outblob", MAX_QUOTE_BYTES)
            certificates = self._certificates()
            after = self._generation()
        except OSError as error:
            if error.errno in _INTERFERENCE:
                return None
            raise QuoteError(f"the kernel gives no report: {error.strerror} ({error.filename})") from error
        return (quote, certificates) if after == before + 1 else None

    def _generation(self) -> int:
        text = read_file(self._report / "generation", _SHORT_BYTES)
        try:
            return int(text)
        except ValueError as error:
            raise QuoteError(f"the kernel's generation {text!r} is not a number") from error

    def _certificates(self) -> bytes:
        if self.kind is not TeeKind.SEV_SNP:
            return b""
        try:
            return read_file(self._report / "auxblob", MAX_QUOTE_BYTES)
        except OSError as error:
            if error.errno in _INTERFERENCE:
                raise
            return b""  # hosts need not hand certificates to guests; AMD's service has them

    def sealing_key(self, purpose: str) -> bytes:
        """SEV-SNP: from the key that the secure processor derives for this measurement. TDX has none."""
        if self._sev_guest is None:
            raise SealingError(
                "TDX derives no sealing keys: use dstack's key service, or have a key released to an attested peer"
            )
        return self._sev_guest.sealing_key(self.name, purpose)

    def close(self) -> None:
        """Remove the report directory. Only before lock-down."""
        with contextlib.suppress(OSError):
            self._report.rmdir()


def _remove_stale(directory: Path) -> None:
    """What dead enclaves left. Anything that does not want to go may stay."""
    for path in directory.glob(f"{_PREFIX}*"):
        owner = path.name.removeprefix(_PREFIX)
        if owner == str(os.getpid()) or not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):
                path.rmdir()
