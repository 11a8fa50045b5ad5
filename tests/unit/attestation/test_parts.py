"""Collateral from loose files, in every form that vendors and tools write."""

import base64
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.trim import trim
from oracle.attestation.development.dcap import machine
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.errors import CollateralError
from oracle.attestation.parts import CollateralParts, recognise
from oracle.attestation.verifier import verify
from oracle.errors import EncodingError, LimitExceededError
from tests.unit.attestation.samples import DEVELOPMENT, NOW_S, PKI, REPORT_DATA

MADE = PKI.collateral("TDX")
QUOTE = PKI.quote(QuoteKind.TDX_V4, REPORT_DATA)
PARSED = parse_quote(QUOTE)
FILES = {
    "tcb info": MADE.tcb_info_document().encode(),
    "qe identity": MADE.qe_identity_document().encode(),
    "tcb signer": PKI.tcb_signer.pem,
    "root list": MADE.root_ca_crl,
    "pck list": MADE.pck_crl,
}


def parts_of(*files: bytes) -> CollateralParts:
    parts = CollateralParts()
    for content in files:
        parts.add(content)
    return parts


def pem(crl: bytes) -> bytes:
    return x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM)


def test_for_quote_loose_files_make_collateral_that_verifies():
    given = parts_of(*FILES.values()).for_quote(PARSED, NOW_S)
    assert verify(QUOTE, given, NOW_S, DEVELOPMENT).report_data == REPORT_DATA
    assert given.tcb_info == MADE.tcb_info


@pytest.mark.parametrize("encode", [bytes, pem, lambda crl: crl.hex().encode(), base64.encodebytes])
def test_for_quote_lists_are_read_in_every_encoding(encode):
    files = {**FILES, "root list": encode(MADE.root_ca_crl), "pck list": encode(MADE.pck_crl)}
    assert parts_of(*files.values()).for_quote(PARSED, NOW_S).pck_crl == MADE.pck_crl


def test_for_quote_one_json_is_enough():
    given = parts_of(MADE.json().encode()).for_quote(PARSED, NOW_S)
    verify(QUOTE, given, NOW_S, DEVELOPMENT)


def test_for_quote_trimmed_quote_takes_its_chain_from_the_parts():
    trimmed = trim(PARSED)
    parts = parts_of(MADE.json().encode(), PKI.pck.der)
    given = parts.for_quote(parse_quote(trimmed), NOW_S)
    assert verify(trimmed, given, NOW_S, DEVELOPMENT) == verify(QUOTE, given, NOW_S, DEVELOPMENT)
    with pytest.raises(CollateralError, match="PCK is not among"):
        parts_of(MADE.json().encode()).for_quote(parse_quote(trimmed), NOW_S)


@pytest.mark.parametrize("missing", FILES)
def test_for_quote_missing_part_is_named(missing):
    files = (content for name, content in FILES.items() if name != missing)
    with pytest.raises(CollateralError, match="among the collateral"):
        parts_of(*files).for_quote(PARSED, NOW_S)


def test_for_quote_documents_of_other_models_do_no_harm():
    other = PKI.on(machine(7, fmspc=bytes(6))).collateral("TDX")
    sgx = PKI.collateral("SGX")
    given = parts_of(other.json().encode(), sgx.json().encode(), *FILES.values()).for_quote(PARSED, NOW_S)
    verify(QUOTE, given, NOW_S, DEVELOPMENT)


def test_for_quote_of_several_documents_the_newest_counts_but_none_from_the_future():
    older = PKI.collateral("TDX", PKI.now_s - 5 * 86_400)
    future = PKI.collateral("TDX", NOW_S + 86_400)
    files = [item.json().encode() for item in (future, MADE, older)]
    assert parts_of(*files).for_quote(PARSED, NOW_S) == parts_of(files[1]).for_quote(PARSED, NOW_S)


def test_for_quote_signed_text_is_kept_as_published():
    spaced = MADE.tcb_info.replace(",", ", ")
    signed = PKI.collateral("TDX", tcb_info=spaced)
    given = parts_of(*{**FILES, "tcb info": signed.tcb_info_document().encode()}.values()).for_quote(PARSED, NOW_S)
    assert given.tcb_info == spaced
    verify(QUOTE, given, NOW_S, DEVELOPMENT)


@pytest.mark.parametrize("content", [b"", b"text", b"{}", b"\x30\x00", QUOTE, b"\xff" * 100])
def test_add_something_else_is_refused(content):
    with pytest.raises(EncodingError):
        CollateralParts().add(content)
    assert not recognise(CollateralParts(), content)


def test_add_too_many_parts_is_refused():
    parts = parts_of(*FILES.values())
    parts.tcb_infos = parts.tcb_infos * 256
    with pytest.raises(LimitExceededError):
        parts.add(FILES["root list"])


def test_collateral_parts_of_the_wrong_size_are_refused():
    given = parts_of(*FILES.values()).for_quote(PARSED, NOW_S)
    for changes in ({"tcb_info_signature": bytes(63)}, {"qe_identity_signature": bytes(65)}):
        with pytest.raises(EncodingError):
            replace(given, **changes)
    for changes in ({"pck_crl": bytes(1 << 21)}, {"tcb_info": " " * (1 << 19)}, {"tcb_info_chain": "-" * (1 << 17)}):
        with pytest.raises(LimitExceededError):
            replace(given, **changes)
