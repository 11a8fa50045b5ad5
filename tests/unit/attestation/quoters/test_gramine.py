"""SGX under Gramine, against a directory and a FIFO that behave like Gramine's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.measurements import sgx_measurement
from oracle.attestation.quoters.gramine import GramineQuoter
from oracle.errors import QuoteError, SealingError
from tests.platforms import BUILD, MRENCLAVE_KEY, PKI, FakeGramine

DATA = bytes(range(32))


def test_measurement_is_the_formula_over_the_enclaves_report(gramine: FakeGramine) -> None:
    report = PKI.sgx_report(mr_enclave=BUILD).encode()
    assert GramineQuoter(gramine.directory).measurement() == sgx_measurement(report)


def test_quote_is_accepted_by_a_verifier(gramine: FakeGramine) -> None:
    dcap_qvl = pytest.importorskip("dcap_qvl")
    collateral = dcap_qvl.QuoteCollateralV3.from_json(PKI.collateral("SGX").json())
    quote = GramineQuoter(gramine.directory).quote(DATA)
    assert dcap_qvl.verify_with_root_ca(quote, collateral, PKI.root.der, PKI.now_s).status == "UpToDate"


@pytest.mark.parametrize("kind", ["none", "", "epid"])
def test_quoter_attestation_type_without_dcap_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "attestation_type").write_text(kind)
    with pytest.raises(QuoteError, match="remote_attestation"):
        GramineQuoter(tmp_path)


def test_quoter_outside_of_gramine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuoteError, match="offers no attestation"):
        GramineQuoter(tmp_path / "nothing")


_WRONG: dict[str, Callable[[bytes], bytes]] = {
    "an old quote": lambda _: PKI.quote(QuoteKind.SGX_V3, b"\5" * 32, BUILD),
    "a tail in the report data": lambda data: PKI.quote(QuoteKind.SGX_V3, data[:63] + b"\1", BUILD),
    "a quote of a trust domain": lambda data: PKI.quote(QuoteKind.TDX_V4, data, BUILD),
    "an endless quote": lambda data: PKI.quote(QuoteKind.SGX_V3, data, BUILD) + bytes(64 << 10),
    "nothing": lambda _: b"",
    "a cut quote": lambda data: PKI.quote(QuoteKind.SGX_V3, data, BUILD)[:300],
}


@pytest.mark.parametrize("name", _WRONG)
def test_quote_anything_but_a_quote_over_our_data_is_refused(gramine: FakeGramine, name: str) -> None:
    gramine.answer = _WRONG[name]
    with pytest.raises(QuoteError):
        GramineQuoter(gramine.directory).quote(DATA)


def test_quote_directory_that_went_away_is_an_error(gramine: FakeGramine) -> None:
    quoter = GramineQuoter(gramine.directory)
    (gramine.directory / "user_report_data").unlink()
    with pytest.raises(QuoteError, match="user_report_data"):
        quoter.quote(DATA)


@pytest.mark.parametrize("key", [b"", MRENCLAVE_KEY[:15], MRENCLAVE_KEY + b"\0", bytes(100), bytes(16)])
def test_sealing_key_file_of_another_size_or_of_zeros_is_refused(gramine: FakeGramine, key: bytes) -> None:
    (gramine.directory / "keys" / "_sgx_mrenclave").write_bytes(key)
    with pytest.raises(QuoteError):
        GramineQuoter(gramine.directory).sealing_key("state")


def test_sealing_key_missing_file_is_refused(gramine: FakeGramine) -> None:
    (gramine.directory / "keys" / "_sgx_mrenclave").unlink()
    with pytest.raises(SealingError, match="_sgx_mrenclave"):
        GramineQuoter(gramine.directory).sealing_key("state")


def test_sealing_key_is_never_the_platforms_own(gramine: FakeGramine) -> None:
    key = GramineQuoter(gramine.directory).sealing_key("state")
    assert MRENCLAVE_KEY not in key
    (gramine.directory / "keys" / "_sgx_mrenclave").write_bytes(b"\2" * 16)
    assert GramineQuoter(gramine.directory).sealing_key("state") != key
