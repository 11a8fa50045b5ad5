"""
DCAP quotes, byte for byte: version 3 (SGX), 4 (TDX) and 5 (TDX, TD report 1.0 or 1.5).

    v3  header 48 | SGX report 384                       | len 4 | sig 64 | key 64 |                 QE part
    v4  header 48 | TD report 584                        | len 4 | sig 64 | key 64 | type 6 2, len 4 | QE part
    v5  header 48 | type 2 | len 4 | TD report 584 or 648 | len 4 | sig 64 | key 64 | type 6 2, len 4 | QE part
    QE part: report 384 | sig by the PCK 64 | len 2 | authentication data | type 5 2 | len 4 | PEM chain, then 00

Source: Intel SGX/TDX DCAP Quote Generation and Verification Library, "Quote Formats".
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from oracle.attestation.development.certificates import Authority
from oracle.attestation.development.keys import point_of, sign_p256
from oracle.attestation.development.reports import SgxReport, TdReport

INTEL_VENDOR_ID: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_ECDSA_P256: Final = 2
_TEE_TYPE_TDX: Final = 0x81
_PCK_CHAIN, _QE_REPORT = 5, 6
_BODY_TD_10, _BODY_TD_15 = 2, 3


class QuoteKind(Enum):
    """Which format."""

    SGX_V3 = "sgx-v3"
    TDX_V4 = "tdx-v4"
    TDX_V5 = "tdx-v5"
    TDX_V5_TD15 = "tdx-v5-td15"

    @property
    def tee(self) -> str:
        """SGX or TDX."""
        return "SGX" if self is QuoteKind.SGX_V3 else "TDX"


@dataclass(frozen=True, slots=True)
class QuotingEnclave:
    """
    Intel's enclave that turns local reports into quotes: what it says of itself, and its attestation key.

    `signer` is the machine's PCK, which vouches for `report`. `bound_data` overrides what the report says about the
    attestation key, for tests of that.
    """

    report: SgxReport
    signer: Authority
    attestation_key: ec.EllipticCurvePrivateKey
    authentication_data: bytes = bytes(range(32))
    bound_data: bytes | None = None

    def signed_report(self) -> bytes:
        """Report, signature and authentication data."""
        bound = hashlib.sha256(point_of(self.attestation_key) + self.authentication_data).digest() + bytes(32)
        fields = {name: getattr(self.report, name) for name in self.report.__dataclass_fields__}
        report = SgxReport(**{**fields, "report_data": self.bound_data or bound}).encode()
        data = self.authentication_data
        return report + sign_p256(self.signer.key, report) + struct.pack("<H", len(data)) + data


def make_quote(
    kind: QuoteKind,
    report: SgxReport | TdReport,
    quoting_enclave: QuotingEnclave,
    chain: bytes,
    *,
    qe_svn: int,
    pce_svn: int,
) -> bytes:
    """The quote over `report`. `chain` is the PEM chain of the PCK, leaf first."""
    version = {QuoteKind.SGX_V3: 3, QuoteKind.TDX_V4: 4}.get(kind, 5)
    tee_type = 0 if kind is QuoteKind.SGX_V3 else _TEE_TYPE_TDX
    versions = struct.pack("<HH", qe_svn, pce_svn) if version == 3 else bytes(4)
    header = struct.pack("<HHI", version, _ECDSA_P256, tee_type) + versions + INTEL_VENDOR_ID + bytes(20)
    signed = header + _typed_body(kind, report)
    key = quoting_enclave.attestation_key
    certified = quoting_enclave.signed_report() + _typed(_PCK_CHAIN, chain + b"\0")
    content = sign_p256(key, signed) + point_of(key) + (certified if version == 3 else _typed(_QE_REPORT, certified))
    return signed + struct.pack("<I", len(content)) + content


def _typed_body(kind: QuoteKind, report: SgxReport | TdReport) -> bytes:
    if isinstance(report, SgxReport):
        assert kind is QuoteKind.SGX_V3
        return report.encode()
    is_15 = kind is QuoteKind.TDX_V5_TD15
    body = report.encode(is_15=is_15)
    return body if kind is QuoteKind.TDX_V4 else _typed(_BODY_TD_15 if is_15 else _BODY_TD_10, body)


def _typed(kind: int, content: bytes) -> bytes:
    return struct.pack("<HI", kind, len(content)) + content
