"""The rules of `Policy`, and what it mirrors on chain."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.attestation.errors import PolicyError
from oracle.attestation.policy import Policy, split_report_data
from oracle.attestation.roots import AWS_NITRO_G1, INTEL_SGX_ROOT, VENDOR_ROOTS
from oracle.errors import ConfigurationError, EncodingError, LimitExceededError
from oracle.types.attestation import (
    Attestation,
    TcbStatus,
    TeeKind,
    advisory_text,
    pack_advisories,
    parse_advisory,
    unpack_advisories,
)
from oracle.types.ids import MeasurementId

GOOD = Attestation(TeeKind.TDX, MeasurementId(bytes(32)), bytes(32), bytes(32), 1_000, evaluation_number=5)
OLD = replace(GOOD, status=TcbStatus.OUT_OF_DATE, out_of_date_since_s=100)
NUMBERS = st.sets(st.integers(1, 0xFFFF), max_size=16)


def test_policy_default_is_the_strictest():
    policy = Policy()
    assert policy.onchain() == (1, 0, 0, False, 0)
    assert policy.roots == VENDOR_ROOTS
    assert policy.is_amd_crl_required
    assert not policy.takes_any_report_data


@pytest.mark.parametrize("statuses", [{TcbStatus.REVOKED}, set(TcbStatus), set()])
def test_policy_that_accepts_revoked_or_nothing_cannot_be_made(statuses):
    with pytest.raises(ConfigurationError):
        Policy(accepted_statuses=frozenset(statuses))


def test_policy_production_cannot_trust_other_roots_than_the_vendors():
    with pytest.raises(ConfigurationError, match="not for development"):
        Policy(roots=VENDOR_ROOTS | {bytes(32)})
    assert Policy(roots=frozenset({INTEL_SGX_ROOT, AWS_NITRO_G1})).roots < VENDOR_ROOTS


def test_policy_development_trusts_no_vendor():
    assert Policy.development([bytes(32)]).roots.isdisjoint(VENDOR_ROOTS)


def test_policy_onchain_is_the_solidity_struct():
    policy = Policy(
        accepted_statuses=frozenset({TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE}),
        grace_period_s=7,
        minimum_evaluation_number=17,
        listed_platforms_only=True,
        accepted_advisories=frozenset({615, 289}),
    )
    assert policy.onchain() == (0b1_0001, 7, 17, True, 615 << 16 | 289)


@pytest.mark.parametrize(
    ("now_s", "grace_s", "is_accepted"), [(100, 0, True), (101, 0, False), (150, 50, True), (151, 50, False)]
)
def test_apply_out_of_date_is_accepted_for_the_grace_period_only(now_s, grace_s, is_accepted):
    policy = Policy(accepted_statuses=frozenset({TcbStatus.OUT_OF_DATE}), grace_period_s=grace_s)
    if is_accepted:
        assert policy.apply(OLD, now_s).valid_until_s == 100 + grace_s
    else:
        with pytest.raises(PolicyError, match="grace"):
            policy.apply(OLD, now_s)


def test_apply_grace_without_the_status_is_refused():
    with pytest.raises(PolicyError, match="status OutOfDate"):
        Policy(grace_period_s=1_000).apply(OLD, 100)


def test_apply_names_every_reason():
    policy = Policy(minimum_evaluation_number=6, denied_platforms=frozenset({bytes(32)}))
    bad = replace(OLD, advisories=frozenset({615}), report_data_tail=b"\1")
    with pytest.raises(PolicyError) as refused:
        policy.apply(bad, 100, ["further"])
    assert len(refused.value.reasons) == 6
    assert refused.value.attestation == bad


def test_apply_evaluation_number_concerns_intel_only():
    policy = Policy(minimum_evaluation_number=6)
    policy.apply(replace(GOOD, kind=TeeKind.SEV_SNP, evaluation_number=0), 0)
    with pytest.raises(PolicyError, match="below 6"):
        policy.apply(GOOD, 0)


@given(numbers=NUMBERS)
def test_pack_advisories_gives_the_numbers_back_ascending_from_the_low_end(numbers):
    packed = pack_advisories(numbers)
    assert unpack_advisories(packed) == numbers
    words = [packed >> 16 * at & 0xFFFF for at in range(16)]
    assert words == sorted(numbers) + [0] * (16 - len(numbers))


@pytest.mark.parametrize(
    ("numbers", "error"), [(range(1, 18), LimitExceededError), ([0], EncodingError), ([1 << 16], EncodingError)]
)
def test_pack_advisories_that_do_not_fit_are_refused(numbers, error):
    with pytest.raises(error):
        pack_advisories(numbers)


@given(number=st.integers(1, 0x7FFF) | st.integers(0x8000, 0x8000 + 9_999))
def test_parse_advisory_reads_what_is_written(number):
    assert parse_advisory(advisory_text(number)) == number


@pytest.mark.parametrize(("text", "number"), [("INTEL-SA-00615", 615), ("INTEL-DOC-10003", 0x8003)])
def test_parse_advisory_numbers_notices_apart(text, number):
    assert parse_advisory(text) == number


@pytest.mark.parametrize(
    "text", ["INTEL-SA-32768", "INTEL-SA-00000", "INTEL-SA-0615", "INTEL-DOC-20000", "INTEL-DOC-1000"]
)
def test_parse_advisory_of_no_known_form_is_refused(text):
    with pytest.raises(EncodingError):
        parse_advisory(text)


@given(text=st.text() | st.integers() | st.none())
def test_parse_of_anything_else_is_refused(text):
    for parse in (parse_advisory, TcbStatus.parse):
        with pytest.raises(EncodingError):
            parse(text)


@pytest.mark.parametrize("status", TcbStatus)
def test_status_text_parses_back(status):
    assert TcbStatus.parse(status.text) is status


@given(content=st.binary(max_size=70))
def test_split_report_data_loses_nothing(content):
    own, tail = split_report_data(content)
    assert (own + tail)[: len(content)] == content
    assert len(own) == 32
