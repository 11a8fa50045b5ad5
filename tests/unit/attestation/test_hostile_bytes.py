"""Whatever the bytes, reading raises `InvalidInputError` or its children, verifying `AttestationError` besides."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.attestation import der, strict_json
from oracle.attestation.dcap.collateral import DcapCollateral, SignedDocument, crl_bytes
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.tcb_info import parse_qe_identity, parse_tcb_info
from oracle.attestation.dcap.trim import trim
from oracle.attestation.development.nitro import DevelopmentNitro
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.nitro.document import parse_document
from oracle.attestation.parts import CollateralParts
from oracle.attestation.snp.report import parse_report
from oracle.attestation.verifier import parse, verify
from oracle.attestation.x509 import read_certificate, read_chain, read_crl
from oracle.errors import AttestationError, EncodingError, InvalidInputError, LimitExceededError
from tests.unit.attestation.samples import DEVELOPMENT, NOW_S, PKI, REPORT_DATA, collateral

NITRO = DevelopmentNitro(now_s=NOW_S)
QUOTES = {kind: PKI.quote(kind, REPORT_DATA) for kind in QuoteKind}
DOCUMENT = NITRO.document(REPORT_DATA, NITRO.pcrs(b"build"))
READERS = {
    "evidence": parse,
    "quote": parse_quote,
    "report": parse_report,
    "document": parse_document,
    "collateral": DcapCollateral.parse,
    "certificate": lambda content: read_certificate(content, "it"),
    "chain": lambda content: read_chain(content, "it"),
    "crl": lambda content: read_crl(content, "it"),
    "parts": lambda content: CollateralParts().add(content),
    "der": lambda content: list(der.elements(content)),
    "tcb info": lambda content: parse_tcb_info(content.decode(errors="replace")),
    "qe identity": lambda content: parse_qe_identity(content.decode(errors="replace")),
    "signed document": lambda content: SignedDocument.parse(content, "tcbInfo"),
    "crl text": lambda content: crl_bytes(content.decode(errors="replace"), "it"),
}
SEEDS = [
    *QUOTES.values(),
    DOCUMENT,
    b"\x84\x44\xa1\x01\x38\x22\xa0",
    PKI.root.der,
    PKI.root.pem,
    PKI.collateral("TDX").pck_crl,
    PKI.collateral("TDX").json().encode(),
    PKI.collateral("TDX").tcb_info_document().encode(),
]


def survives(read, content):
    with contextlib.suppress(InvalidInputError):
        read(content)


@pytest.mark.parametrize("reader", READERS)
@given(content=st.binary(max_size=1300))
def test_read_random_bytes_raises_only_our_errors(reader, content):
    survives(READERS[reader], content)


@st.composite
def damaged(draw):
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content) - 1))
        piece = draw(st.binary(max_size=4))
        content[at : at + draw(st.integers(0, 4))] = piece
        if not content:
            break
    return bytes(content)


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=150)
@given(content=damaged())
def test_read_damaged_bytes_raises_only_our_errors(reader, content):
    survives(READERS[reader], content)


@settings(max_examples=200, deadline=None)
@given(content=damaged())
def test_verify_damaged_evidence_raises_only_our_errors(content):
    with contextlib.suppress(InvalidInputError, AttestationError):
        verify(content, collateral(), NOW_S, DEVELOPMENT)


@settings(max_examples=100, deadline=None)
@given(content=damaged())
def test_verify_with_damaged_collateral_raises_only_our_errors(content):
    with contextlib.suppress(InvalidInputError, AttestationError):
        verify(QUOTES[QuoteKind.TDX_V4], DcapCollateral.parse(content), NOW_S, DEVELOPMENT)


@pytest.mark.parametrize("kind", QuoteKind)
def test_parse_every_flipped_byte_of_a_quote_raises_only_our_errors(kind):
    for content in (QUOTES[kind], trim(parse_quote(QUOTES[kind]))):
        for index in range(len(content)):
            survives(parse, bytes((*content[:index], content[index] ^ 0xFF, *content[index + 1 :])))


@pytest.mark.parametrize("content", [*QUOTES.values(), DOCUMENT])
def test_parse_every_truncation_is_refused(content):
    for size in range(len(content)):
        with pytest.raises(EncodingError):
            parse(content[:size])


@pytest.mark.parametrize("reader", ["quote", "document", "collateral", "chain", "certificate", "crl", "parts"])
def test_read_too_many_bytes_is_refused(reader):
    with pytest.raises(LimitExceededError):
        READERS[reader](bytes(5_000_000))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":1,"a":2}', "twice"),
        ('{"a":NaN}', "NaN"),
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        ('{"a":' + "[" * 32 + "]" * 32 + "}", "nested deeper"),
        ('{"a":' + "1" * 5000 + "}", "not JSON"),
    ],
)
def test_strict_json_refuses_what_readers_could_take_differently(text, reason):
    with pytest.raises(EncodingError, match=reason):
        strict_json.parse(text, "it")


@given(
    members=st.dictionaries(
        st.text(max_size=5), st.recursive(st.integers() | st.text(max_size=8), st.lists, max_leaves=5), max_size=4
    ),
    indent=st.sampled_from([None, 1]),
)
def test_member_texts_are_cut_out_as_they_stand(members, indent):
    text = json.dumps(members, indent=indent)
    texts = strict_json.member_texts(f" {text}\n", "it")
    assert {name: json.loads(value) for name, value in texts.items()} == members
    assert all(value in text for value in texts.values())


@pytest.mark.parametrize("member", ["tcb_info", "tcb_info_issuer_chain", "pck_certificate_chain"])
def test_collateral_with_half_characters_is_refused(member):
    document = json.loads(PKI.collateral("TDX").json()) | {member: "\ud800"}
    with pytest.raises(EncodingError, match="UTF-8"):
        DcapCollateral.parse(json.dumps(document).encode())


def test_der_object_identifier_without_end_is_refused():
    for content in (b"", b"\x81", b"\x80\x01", b"\x81" * 10_000 + b"\x01"):
        with pytest.raises(EncodingError):
            der.dotted(content)


@pytest.mark.parametrize(
    "content",
    ["", "30", "3080", "30810100", "3082000100", "30830000010000", "3002ff", "300500"],
)
def test_der_lengths_that_are_cut_off_or_not_minimal_are_refused(content):
    with pytest.raises(EncodingError):
        der.only(bytes.fromhex(content), der.SEQUENCE)


@pytest.mark.parametrize(("content", "size"), [("", 1), ("80", 1), ("0001", 1), ("0100", 1), ("010000", 2)])
def test_der_numbers_that_are_negative_not_minimal_or_too_large_are_refused(content, size):
    with pytest.raises(EncodingError):
        der.unsigned(bytes.fromhex(content), size, "it")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("2a864886f84d010d01", "1.2.840.113741.1.13.1"),
        ("2b060104019c780101", "1.3.6.1.4.1.3704.1.1"),
        ("8137", "2.103"),
    ],
)
def test_der_object_identifiers_read_as_dotted_text(content, text):
    assert der.dotted(bytes.fromhex(content)) == text
