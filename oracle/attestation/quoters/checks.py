"""
Where quotes of each kind carry report data and what is measured, and a look at both before a quote leaves the enclave.

A platform that hands over somebody else's quote, an old one or garbage is found out here. Whether a quote is genuine is
for verifiers to say.
"""

from __future__ import annotations

import hmac
import struct
from typing import Any, Final

import cbor2

from oracle.attestation.measurements import nitro_measurement, sgx_measurement, snp_measurement, tdx_measurement
from oracle.attestation.quoter import MAX_QUOTE_BYTES, REPORT_DATA_BYTES
from oracle.errors import EncodingError, QuoteError
from oracle.types.attestation import TeeKind
from oracle.types.ids import MeasurementId

DCAP_HEADER_BYTES: Final = 48
_SGX_BYTES, _SGX_DATA = 384, 320
_TD_BYTES, _TD_DATA = {2: 584, 3: 648}, 520
_SNP_BYTES, _SNP_DATA = 1184, 80
_TEE_TYPES: Final = {0x00: TeeKind.SGX, 0x81: TeeKind.TDX}
_V5_PREFIX: Final = struct.Struct("<HI")


def check_report_data(report_data: bytes) -> None:
    """What callers must pass: 32 bytes."""
    if len(report_data) != REPORT_DATA_BYTES:
        raise QuoteError(f"report data has {REPORT_DATA_BYTES} bytes, not {len(report_data)}")


def padded(report_data: bytes) -> bytes:
    """The 64 bytes of a quote for 32 of ours: zeros follow."""
    check_report_data(report_data)
    return report_data + bytes(64 - REPORT_DATA_BYTES)


def check_quote(kind: TeeKind, quote: bytes, report_data: bytes) -> None:
    """
    Check that `quote` is of `kind`, of a sensible size and over `report_data` (32 bytes).

    Raises:
        QuoteError: it is not.
    """
    if kind is TeeKind.NITRO:
        found, wanted = nitro_document(quote).get("user_data"), report_data
    else:
        body, at = _report(kind, quote)
        found, wanted = body[at : at + 64], padded(report_data)
    if not isinstance(found, bytes) or not hmac.compare_digest(found, wanted):
        raise QuoteError(
            "the platform's quote is over other report data than was asked for: is something else using it?"
        )


def measurement_of(kind: TeeKind, quote: bytes) -> MeasurementId:
    """
    What `quote` says is running. Not verified.

    Raises:
        QuoteError: it is not a quote of `kind`.
    """
    try:
        if kind is TeeKind.NITRO:
            pcrs = nitro_document(quote).get("pcrs", {})
            return nitro_measurement(pcrs[0], pcrs[1], pcrs[2])
        body, _ = _report(kind, quote)
        formula = {TeeKind.SGX: sgx_measurement, TeeKind.TDX: tdx_measurement, TeeKind.SEV_SNP: snp_measurement}[kind]
        return formula(body)
    except (EncodingError, KeyError, TypeError) as error:
        raise QuoteError(f"the platform's quote has no measurement: {error}") from error


def nitro_document(quote: bytes) -> dict[str, Any]:
    """The payload of a COSE_Sign1 document, unverified."""
    _check_size(quote)
    try:
        _, _, payload, _ = cbor2.loads(quote)
        members = cbor2.loads(payload)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise QuoteError("the Nitro security module's answer is not an attestation document") from error
    if not isinstance(members, dict):
        raise QuoteError("the Nitro security module's answer is not an attestation document")
    return members


def _report(kind: TeeKind, quote: bytes) -> tuple[bytes, int]:
    """The report inside and where its report data begins."""
    _check_size(quote)
    if kind is TeeKind.SEV_SNP:
        if len(quote) != _SNP_BYTES:
            raise QuoteError(f"an SEV-SNP report has {_SNP_BYTES} bytes, not {len(quote)}")
        return quote, _SNP_DATA
    if len(quote) < DCAP_HEADER_BYTES + _V5_PREFIX.size:
        raise QuoteError(f"{len(quote)} bytes are not a DCAP quote")
    version, _, tee_type = struct.unpack_from("<HHI", quote)
    at, size, data = DCAP_HEADER_BYTES, _SGX_BYTES, _SGX_DATA
    if kind is TeeKind.TDX:
        size, data = _TD_BYTES[2], _TD_DATA
        if version == 5:
            body_type, size = _V5_PREFIX.unpack_from(quote, DCAP_HEADER_BYTES)
            at += _V5_PREFIX.size
            if _TD_BYTES.get(body_type) != size:
                raise QuoteError(f"body type {body_type} of {size} bytes is not a TD report")
    found = _TEE_TYPES.get(tee_type) if version in ((3,) if kind is TeeKind.SGX else (4, 5)) else None
    if found is not kind or len(quote) < at + size:
        raise QuoteError(
            f"expected a quote of {kind}, got version {version}, TEE type {tee_type:#x}, {len(quote)} bytes"
        )
    return quote[at : at + size], data


def _check_size(quote: bytes) -> None:
    if not 0 < len(quote) <= MAX_QUOTE_BYTES:
        raise QuoteError(f"a quote has 1 to {MAX_QUOTE_BYTES} bytes, not {len(quote)}")
