"""
DCAP quotes, versions 3, 4 and 5, whole or trimmed. Parsing decides nothing; whatever the bytes, it raises
`InvalidInputError` and nothing else.

    v3   header 48 | SGX report 384                             | len 4 | sig 64 | key 64                  | QE part
    v4   header 48 | TD report 584 or SGX report 384            | len 4 | sig 64 | key 64 | 6 (2) | len 4  | QE part
    v5   header 48 | type 2 | len 4 | report 384, 584 or 648    | len 4 | sig 64 | key 64 | 6 (2) | len 4  | QE part
    QE part: QE report 384 | signature by the PCK 64 | len 2 | authentication data | type 2 | len 4 | certification data

A trimmed quote ends after the authentication data. Both lengths must be exact; only zeros may follow a whole quote,
because some platforms pad to a fixed size. Neither the lengths nor anything after the authentication data is signed, so
the bytes of a quote name nothing: key nothing on them.
Source: Intel SGX/TDX DCAP Quote Generation and Verification Library, "Quote Formats". Integers are little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oracle.attestation.dcap.reports import SGX_REPORT_BYTES, SgxReport, TdReport
from oracle.attestation.reader import ByteReader, require_size
from oracle.errors import EncodingError
from oracle.types.attestation import TeeKind

MAX_QUOTE_BYTES: Final = 32_768
HEADER_BYTES: Final = 48
SIGNATURE_BYTES: Final = 64
KEY_BYTES: Final = 64
ECDSA_P256: Final = 2
INTEL_QE_VENDOR_ID: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
TEE_TYPE_SGX: Final = 0
TEE_TYPE_TDX: Final = 0x81
PCK_CHAIN: Final = 5  # certification data: PEM chain of the PCK
QE_CERTIFICATION: Final = 6  # certification data: a QE part
BODY_TYPES: Final = {1: (TeeKind.SGX, 384), 2: (TeeKind.TDX, 584), 3: (TeeKind.TDX, 648)}


@dataclass(frozen=True, slots=True)
class Header:
    """The first 48 bytes."""

    version: int
    key_type: int
    tee_type: int
    qe_svn: int
    pce_svn: int
    qe_vendor_id: bytes
    user_data: bytes


@dataclass(frozen=True, slots=True)
class Quote:
    """The parts of a quote. `certification_type` is None in a trimmed one."""

    header: Header
    kind: TeeKind
    signed: bytes  # what the attestation key signed: header to report, with type and length in version 5
    body: bytes
    signature: bytes  # r || s
    attestation_key: bytes  # x || y
    qe_report: bytes
    qe_signature: bytes  # r || s, by the PCK
    qe_authentication: bytes
    certification_type: int | None
    certification_data: bytes

    @property
    def is_trimmed(self) -> bool:
        """Whether the certificates were cut off."""
        return self.certification_type is None

    @property
    def report(self) -> SgxReport | TdReport:
        """The body's fields."""
        return SgxReport(self.body) if self.kind is TeeKind.SGX else TdReport(self.body)


def parse_quote(content: bytes) -> Quote:
    """
    The quote in `content`.

    Raises:
        EncodingError: not a quote of version 3, 4 or 5, a length that does not fit, or something else than zeros after
            it.
        LimitExceededError: over 32 KiB.
    """
    require_size(content, MAX_QUOTE_BYTES, "a quote")
    reader = ByteReader(content)
    header = _parse_header(reader)
    kind, body = _parse_body(reader, header)
    signed = content[: reader.offset]
    signature_data = reader.take(reader.integer(4, "signature data length"), "signature data")
    padding = reader.rest()
    if padding.strip(b"\0"):
        raise EncodingError(f"{len(padding)} bytes follow the quote, and they are not all zero")
    quote = _parse_signature_data(header, kind, signed, body, signature_data)
    if quote.is_trimmed and padding:
        raise EncodingError(f"{len(padding)} bytes follow the trimmed quote")
    return quote


def _parse_header(reader: ByteReader) -> Header:
    version = reader.integer(2, "version")
    if version not in (3, 4, 5):
        raise EncodingError(f"{version} is not a quote version that is understood (3, 4, 5)")
    return Header(
        version,
        key_type=reader.integer(2, "attestation key type"),
        tee_type=reader.integer(4, "TEE type"),
        qe_svn=reader.integer(2, "QE SVN"),
        pce_svn=reader.integer(2, "PCE SVN"),
        qe_vendor_id=reader.take(16, "QE vendor id"),
        user_data=reader.take(20, "user data"),
    )


def _parse_body(reader: ByteReader, header: Header) -> tuple[TeeKind, bytes]:
    kinds = {TEE_TYPE_SGX: TeeKind.SGX, TEE_TYPE_TDX: TeeKind.TDX}
    kind = kinds.get(header.tee_type)
    if kind is None or (header.version == 3 and kind is not TeeKind.SGX):
        raise EncodingError(f"a version {header.version} quote has no TEE type {header.tee_type:#x}")
    if header.version < 5:
        size = SGX_REPORT_BYTES if kind is TeeKind.SGX else 584
        return kind, reader.take(size, "report")
    body_type, length = reader.integer(2, "body type"), reader.integer(4, "body length")
    if BODY_TYPES.get(body_type) != (kind, length):
        raise EncodingError(f"a {kind} quote has no body of type {body_type} and {length} bytes")
    return kind, reader.take(length, "report")


def _parse_signature_data(header: Header, kind: TeeKind, signed: bytes, body: bytes, content: bytes) -> Quote:
    reader = ByteReader(content)
    signature = reader.take(SIGNATURE_BYTES, "signature")
    attestation_key = reader.take(KEY_BYTES, "attestation key")
    if header.version > 3:
        part_type, length = reader.integer(2, "certification type"), reader.integer(4, "certification length")
        if part_type != QE_CERTIFICATION or length != reader.remaining:
            raise EncodingError(f"the QE part is of type {part_type} and {length} bytes, {reader.remaining} are there")
    qe_report = reader.take(SGX_REPORT_BYTES, "QE report")
    qe_signature = reader.take(SIGNATURE_BYTES, "QE report signature")
    authentication = reader.take(reader.integer(2, "QE authentication length"), "QE authentication data")
    certification_type, certification_data = None, b""
    if reader.remaining:
        certification_type = reader.integer(2, "certification type")
        certification_data = reader.take(reader.integer(4, "certification length"), "certification data")
        if reader.remaining:
            raise EncodingError(f"{reader.remaining} bytes follow the certification data")
    return Quote(
        header,
        kind,
        signed,
        body,
        signature,
        attestation_key,
        qe_report,
        qe_signature,
        authentication,
        certification_type,
        certification_data,
    )
