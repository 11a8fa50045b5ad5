"""Rules L1 to L4 of `oracle.attestation.dcap.tcb_levels`, on parsed values."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.attestation.dcap.pck import PckIdentity, parse_pck
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.reports import SgxReport, TdReport
from oracle.attestation.dcap.tcb_info import IsvLevel, Level, PlatformLevel, parse_qe_identity, parse_tcb_info
from oracle.attestation.dcap.tcb_levels import judge, match_module, match_platform, match_qe
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.errors import CollateralError, NotGenuineError
from oracle.types.attestation import TcbStatus
from tests.unit.attestation.samples import PKI, REPORT_DATA

TD = parse_quote(PKI.quote(QuoteKind.TDX_V4, REPORT_DATA))
PCK: PckIdentity = parse_pck(PKI.pck.certificate)
TCB_INFO = parse_tcb_info(PKI.tcb_info("TDX").text())
IDENTITY = parse_qe_identity(PKI.qe_identity("TDX").text())
QE = SgxReport(TD.qe_report)
GOOD, OLD = TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE


def report(**fields) -> TdReport:
    return TdReport(PKI.td_report(report_data=bytes(64), **fields).encode())


def platform_level(date_s, status=GOOD, pce_svn=0, sgx=bytes(16), tdx=bytes(16)) -> PlatformLevel:
    return PlatformLevel(Level(status, frozenset(), date_s), sgx, pce_svn, tdx)


def with_levels(*levels):
    return replace(TCB_INFO, levels=levels)


def test_l1_platform_reaches_the_first_level_that_fits():
    info = with_levels(platform_level(3, pce_svn=14), platform_level(2), platform_level(1, OLD))
    assert match_platform(PCK, report(), info) == (Level(GOOD, frozenset(), 2), 0)


@pytest.mark.parametrize("component", range(16))
def test_l1_platform_below_in_any_one_component_does_not_reach(component):
    more = bytes(svn + (at == component) for at, svn in enumerate(PCK.cpu_svn))
    with pytest.raises(CollateralError, match="no TCB level"):
        match_platform(PCK, report(), with_levels(platform_level(1, sgx=more)))


@pytest.mark.parametrize("component", range(16))
def test_l2_module_components_do_not_count_if_the_module_has_an_identity(component):
    own = PKI.platform.tee_tcb_svn
    info = with_levels(platform_level(1, tdx=bytes(svn + (at == component) for at, svn in enumerate(own))))
    if component < 2:
        match_platform(PCK, report(), info)
    else:
        with pytest.raises(CollateralError, match="no TCB level"):
            match_platform(PCK, report(), info)


@pytest.mark.parametrize("component", range(16))
def test_l2_all_components_count_for_a_module_of_version_0(component):
    own = bytes((5, 0, *PKI.platform.tee_tcb_svn[2:]))
    info = with_levels(platform_level(1, tdx=bytes(svn + (at == component) for at, svn in enumerate(own))))
    with pytest.raises(CollateralError, match="no TCB level"):
        match_platform(PCK, report(tee_tcb_svn=own), info)


def test_l2_module_of_version_0_is_judged_by_the_plain_fields_without_a_level():
    plain = report(tee_tcb_svn=bytes((5, 0, *PKI.platform.tee_tcb_svn[2:])))
    assert match_module(plain, TCB_INFO) is None
    signed_by_another = replace(TCB_INFO.module, mr_signer=b"\1" * 48)
    with pytest.raises(NotGenuineError, match="another key"):
        match_module(plain, replace(TCB_INFO, module=signed_by_another))


def test_l2_module_version_without_identity_is_refused():
    with pytest.raises(CollateralError, match="TDX_0A"):
        match_module(report(tee_tcb_svn=b"\5\x0a" + bytes(14)), TCB_INFO)


@pytest.mark.parametrize("seam_attributes", [1, 1 << 63])
def test_l2_module_attributes_have_to_be_exactly_as_described_even_outside_the_mask(seam_attributes):
    masked = {name: replace(module, attributes_mask=bytes(8)) for name, module in TCB_INFO.modules.items()}
    with pytest.raises(NotGenuineError, match="attributes"):
        match_module(report(seam_attributes=seam_attributes), replace(TCB_INFO, modules=masked))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("mr_signer", bytes(32), "not Intel's"),
        ("isv_prod_id", 9, "not Intel's"),
        ("misc_select", b"\1\0\0\0", "MISCSELECT"),
        ("attributes", b"\x12" + bytes(15), "attributes"),
    ],
)
def test_quoting_enclave_that_intel_does_not_describe_is_refused(field, value, reason):
    with pytest.raises(NotGenuineError, match=reason):
        match_qe(QE, replace(IDENTITY, **{field: value}))


def test_quoting_enclave_below_every_level_is_refused():
    with pytest.raises(CollateralError, match="quoting enclave of version 8"):
        match_qe(QE, replace(IDENTITY, levels=(IsvLevel(Level(GOOD, frozenset(), 1), 9),)))


def test_l3_evaluation_number_and_advisories_are_of_all_parts():
    identity = replace(IDENTITY, evaluation_number=3, levels=(IsvLevel(Level(GOOD, frozenset({7}), 1), 0),))
    info = with_levels(PlatformLevel(Level(TcbStatus.CONFIGURATION_NEEDED, frozenset({8}), 1), bytes(16), 0, bytes(16)))
    verdict = judge(PCK, report(), QE, info, identity)
    assert (verdict.evaluation_number, verdict.advisories) == (3, {7, 8})
    assert (verdict.status, verdict.out_of_date_since_s) == (TcbStatus.CONFIGURATION_NEEDED, 0)


@given(better=st.lists(st.integers(0, 100), max_size=6), own=st.integers(0, 100))
def test_l4_out_of_date_since_is_the_earliest_later_date_of_a_better_level(better, own):
    levels = [platform_level(date_s, pce_svn=PCK.pce_svn + 1) for date_s in better]
    _, since_s = match_platform(PCK, report(), with_levels(*levels, platform_level(own, OLD)))
    later = [date_s for date_s in better if date_s > own]
    assert since_s == (min(later) if later else own)


def test_l4_the_earliest_part_counts():
    identity = replace(
        IDENTITY, levels=(IsvLevel(Level(GOOD, frozenset(), 50), 9), IsvLevel(Level(OLD, frozenset(), 1), 0))
    )
    info = with_levels(platform_level(70, pce_svn=99), platform_level(60, OLD))
    assert judge(PCK, report(), QE, info, identity).out_of_date_since_s == 50


def test_documents_of_different_technologies_are_refused():
    with pytest.raises(CollateralError, match="QE identity for SGX"):
        judge(PCK, report(), QE, TCB_INFO, parse_qe_identity(PKI.qe_identity("SGX").text()))
    with pytest.raises(CollateralError, match="not this quote's"):
        judge(PCK, QE, QE, TCB_INFO, IDENTITY)


def test_statuses_are_ordered_from_good_to_bad():
    assert all(first < second for first, second in pairwise(TcbStatus))
