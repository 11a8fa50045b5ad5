"""Whatever a platform hands over, the checks accept it or raise QuoteError."""

from __future__ import annotations

import contextlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.attestation.development.nitro import DevelopmentNitro
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.quoters.checks import check_quote, measurement_of
from oracle.errors import QuoteError
from oracle.types.attestation import TeeKind
from tests.platforms import BUILD, PKI, snp_machine

DATA = bytes(range(32))
NITRO = DevelopmentNitro(b"a test")
GOOD = [(TeeKind.SGX if it is QuoteKind.SGX_V3 else TeeKind.TDX, PKI.quote(it, DATA, BUILD)) for it in QuoteKind]
GOOD += [(TeeKind.SEV_SNP, snp_machine().report(DATA)), (TeeKind.NITRO, NITRO.document(DATA, NITRO.pcrs(BUILD)))]


@pytest.mark.parametrize(("kind", "quote"), GOOD)
def test_check_quote_good_ones_pass_and_only_as_their_kind(kind: TeeKind, quote: bytes) -> None:
    check_quote(kind, quote, DATA)
    for other in TeeKind:
        if other is not kind:
            with pytest.raises(QuoteError):
                check_quote(other, quote, DATA)


@given(st.sampled_from(TeeKind), st.binary(max_size=1500))
def test_check_quote_any_bytes_are_refused(kind: TeeKind, data: bytes) -> None:
    with pytest.raises(QuoteError):
        check_quote(kind, data, DATA)


@given(st.sampled_from(GOOD), st.integers(0), st.integers(0, 255), st.integers(0))
def test_checks_any_changed_or_cut_quote_raises_nothing_else(
    good: tuple[TeeKind, bytes], at: int, value: int, cut: int
) -> None:
    kind, quote = good[0], bytearray(good[1])
    quote[at % len(quote)] = value
    changed = bytes(quote[: len(quote) - cut % 3])
    for check in (lambda: check_quote(kind, changed, DATA), lambda: measurement_of(kind, changed)):
        with contextlib.suppress(QuoteError):
            check()


@given(
    st.recursive(
        st.none() | st.integers() | st.binary() | st.text(), lambda it: st.lists(it) | st.dictionaries(st.text(), it)
    )
)
def test_checks_any_cbor_as_nitro_document_raises_nothing_else(value: object) -> None:
    for document in (cbor2.dumps(value), cbor2.dumps([b"", {}, cbor2.dumps(value), b""])):
        with pytest.raises(QuoteError):
            check_quote(TeeKind.NITRO, document, DATA)
        with pytest.raises(QuoteError):
            measurement_of(TeeKind.NITRO, document)
