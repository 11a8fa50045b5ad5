"""
Quotes of the development PKI: no hardware, no secret, same formats. It vouches for nothing, and its name says so.

MRENCLAVE, or MRTD with zeros behind it, is the hash of this build (`oracle.enclave.measurement.measure`), so an honest
build has one measurement id on chain, as with hardware. A dishonest one can claim any.
"""

from __future__ import annotations

from typing import Final

from oracle.attestation.development.dcap import DevelopmentPki, machine
from oracle.attestation.development.keys import DEVELOPMENT_SEED
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.quoter import Evidence, Needs
from oracle.attestation.quoters.checks import check_quote, check_report_data, measurement_of
from oracle.attestation.quoters.sealing import derive_sealing_key
from oracle.crypto.hashing import keccak256
from oracle.types.attestation import TeeKind
from oracle.types.ids import MeasurementId

DEFAULT_KIND: Final = QuoteKind.SGX_V3


class SimulatedQuoter:
    """Quotes of a machine that does not exist."""

    name = "simulated"
    needs = Needs()

    def __init__(
        self, build: bytes, kind: QuoteKind = DEFAULT_KIND, number: int = 1, seed: bytes = DEVELOPMENT_SEED
    ) -> None:
        """Of machine `number`, for the 32-byte hash `build`."""
        self._build, self._kind, self._seed = build, kind, seed
        self._pki = DevelopmentPki(seed, platform=machine(number))
        self._tee = TeeKind.SGX if kind is QuoteKind.SGX_V3 else TeeKind.TDX
        self._machine = number
        self._measurement = measurement_of(self._tee, self.quote(bytes(32)))  # makes all keys and certificates, too

    def measurement(self) -> MeasurementId:
        """What is approved on chain for this build."""
        return self._measurement

    def evidence(self, report_data: bytes) -> Evidence:
        """A DCAP quote under the development root."""
        check_report_data(report_data)
        quote = self._pki.quote(self._kind, report_data, self._build)
        check_quote(self._tee, quote, report_data)
        return Evidence(self._tee, quote)

    def quote(self, report_data: bytes) -> bytes:
        """A DCAP quote under the development root."""
        return self.evidence(report_data).quote

    def sealing_key(self, purpose: str) -> bytes:
        """From seed, machine and measurement: as predictable as all of this."""
        secret = keccak256(keccak256(self._seed) + self._machine.to_bytes(32) + self._measurement)
        return derive_sealing_key(secret, self.name, purpose, size=len(secret))


def simulated_measurement(build: bytes, kind: QuoteKind = DEFAULT_KIND) -> MeasurementId:
    """The measurement id of an honest simulated enclave of the build with the hash `build`."""
    return SimulatedQuoter(build, kind).measurement()
