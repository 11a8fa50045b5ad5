"""
AWS Nitro enclaves: the security module signs attestation documents, by ioctl on /dev/nsm.

Takes the package aws-nsm-interface (extra `nitro`), imported when a quoter is made. The device is opened before
lock-down; afterwards ioctl is enough.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from oracle.attestation.quoter import Evidence, Needs
from oracle.attestation.quoters.checks import check_quote, check_report_data, measurement_of
from oracle.errors import QuoteError, SealingError
from oracle.types.attestation import TeeKind
from oracle.types.ids import MeasurementId

NSM: Final = Path("/dev/nsm")


class NitroQuoter:
    """Attestation documents of the Nitro enclave that we run in."""

    name = "nitro"
    needs = Needs()

    def __init__(self, device: Path = NSM) -> None:
        """
        Open the device.

        Raises:
            QuoteError: the package is not installed or the device cannot be opened.
        """
        try:
            self._module: Any = import_module("aws_nsm_interface")  # optional
        except ImportError as error:
            raise QuoteError("the Nitro quoter takes the package aws-nsm-interface: install adyton[nitro]") from error
        self._lock = threading.Lock()
        try:
            self._descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise QuoteError(f"cannot open the Nitro security module {device}: {error.strerror}") from error

    def measurement(self) -> MeasurementId:
        """From a document over zeros."""
        return measurement_of(TeeKind.NITRO, self.quote(bytes(32)))

    def evidence(self, report_data: bytes) -> Evidence:
        """A document whose user data is the 32 bytes."""
        check_report_data(report_data)
        try:
            with self._lock:
                answer = self._module.get_attestation_doc(self._descriptor, user_data=report_data)
            document = answer["document"]
        except Exception as error:  # the package raises OSError, its own error and what cbor2 raises
            raise QuoteError(f"the Nitro security module signs no document: {type(error).__name__}: {error}") from error
        if not isinstance(document, bytes):
            raise QuoteError("the Nitro security module's answer has no document")
        check_quote(TeeKind.NITRO, document, report_data)
        return Evidence(TeeKind.NITRO, document)

    def quote(self, report_data: bytes) -> bytes:
        """A COSE_Sign1 document."""
        return self.evidence(report_data).quote

    def sealing_key(self, purpose: str) -> bytes:
        """Refused: Nitro enclaves have no key of their own."""
        raise SealingError(
            f"Nitro derives no sealing key for {purpose!r}: keep the secret in AWS KMS, with a key policy on the PCRs"
        )
