"""SGX and TDX quotes of the development PKI, under every circumstance that real samples do not show."""

import hashlib
from dataclasses import replace

import pytest

from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.reports import SgxReport
from oracle.attestation.dcap.trim import onchain_evidence
from oracle.attestation.development.certificates import Validity
from oracle.attestation.development.collateral import NEW_S, OLD_S, STATUSES, IsvLevel, TdxModule
from oracle.attestation.development.dcap import DevelopmentPki, machine, processor_platform
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.development.reports import SGX_DEBUG, TD_DEBUG, TD_SEPT_VE_DISABLE
from oracle.attestation.errors import CollateralError, NotGenuineError, PolicyError, RevokedError, UntrustedRootError
from oracle.attestation.measurements import dcap_platform, sgx_measurement, tdx_measurement
from oracle.attestation.policy import Policy
from oracle.attestation.verifier import verify
from oracle.crypto.hashing import keccak256
from oracle.errors import AttestationError, EncodingError, InvalidInputError
from oracle.types.attestation import TcbStatus, TeeKind, advisory_text, merge_statuses
from tests.unit.attestation.samples import DEVELOPMENT, NOW_S, PKI, REPORT_DATA, collateral

KINDS = list(QuoteKind)
ANY_STATUS = frozenset(TcbStatus) - {TcbStatus.REVOKED}
GENEROUS = replace(
    DEVELOPMENT, accepted_statuses=ANY_STATUS, grace_period_s=NOW_S, accepted_advisories=frozenset({960, 982})
)
ADVISORIES = ("INTEL-SA-00960", "INTEL-SA-00982")


def quote(kind=QuoteKind.TDX_V4, pki=PKI, **changes):
    return pki.quote(kind, REPORT_DATA, **changes)


def check(evidence=None, given=None, policy=DEVELOPMENT, now_s=NOW_S):
    return verify(quote() if evidence is None else evidence, given or collateral(), now_s, policy)


@pytest.mark.parametrize("kind", KINDS)
def test_verify_development_quote_gives_an_attestation(kind):
    evidence = quote(kind)
    attestation = check(evidence, collateral(tee=kind.tee))
    body = parse_quote(evidence).body
    assert attestation.kind is TeeKind(kind.tee)
    assert attestation.measurement == (sgx_measurement(body) if kind.tee == "SGX" else tdx_measurement(body))
    assert attestation.report_data == REPORT_DATA
    assert attestation.platform == dcap_platform(PKI.platform.ppid, PKI.platform.pce_id)
    assert attestation.valid_until_s == PKI.now_s + 30 * 86_400
    assert (attestation.status, attestation.evaluation_number) == (TcbStatus.UP_TO_DATE, 18)


@pytest.mark.parametrize("kind", KINDS)
def test_verify_development_quote_under_production_policy_is_refused(kind):
    with pytest.raises(UntrustedRootError):
        check(quote(kind), collateral(tee=kind.tee), Policy())


@pytest.mark.parametrize("kind", KINDS)
def test_verify_another_development_root_is_refused(kind):
    other = DevelopmentPki(seed=b"another", now_s=PKI.now_s)
    with pytest.raises(UntrustedRootError):
        check(quote(kind, other), collateral(other, kind.tee))


@pytest.mark.parametrize("kind", KINDS)
def test_verify_trimmed_evidence_gives_the_same_attestation(kind):
    evidence = onchain_evidence(parse_quote(quote(kind)))
    given = replace(collateral(tee=kind.tee), pck_chain=PKI.pck_chain.decode())
    assert check(evidence.trimmed, given) == check(quote(kind), given)
    point = PKI.pck.key.public_key().public_numbers()
    assert evidence.pck_id == keccak256(point.x.to_bytes(32) + point.y.to_bytes(32))
    assert (evidence.pck_der, evidence.ca_der) == (PKI.pck.der, PKI.pck_authority.der)
    assert evidence.evidence == evidence.pck_id + evidence.trimmed
    end = evidence.trimmed.index(parse_quote(quote(kind)).attestation_key) + 64
    assert (
        evidence.cached[:-132] + evidence.cached[-128:]
        == evidence.trimmed[: end - 132] + evidence.trimmed[end - 128 : end]
    )
    assert evidence.cached[-132:-128] == b"\x80\0\0\0"


def test_verify_trimmed_evidence_without_its_chain_is_refused():
    with pytest.raises(CollateralError, match="no certificate chain"):
        check(onchain_evidence(parse_quote(quote())).trimmed)


@pytest.mark.parametrize("kind", KINDS)
def test_verify_every_flipped_byte_of_a_trimmed_quote_is_refused(kind):
    trimmed = onchain_evidence(parse_quote(quote(kind))).trimmed
    given = replace(collateral(tee=kind.tee), pck_chain=PKI.pck_chain.decode())
    for index in range(len(trimmed)):
        flipped = bytes((*trimmed[:index], trimmed[index] ^ 1 << index % 8, *trimmed[index + 1 :]))
        with pytest.raises((AttestationError, InvalidInputError)):
            check(flipped, given)


@pytest.mark.parametrize("status", STATUSES[:-1])
@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_verify_status_is_accepted_only_if_the_policy_says_so(tee, status):
    evidence = quote(QuoteKind.SGX_V3 if tee == "SGX" else QuoteKind.TDX_V4)
    given = collateral(tee=tee, status=status, advisories=ADVISORIES)
    attestation = check(evidence, given, GENEROUS)
    assert (attestation.status.text, attestation.advisories) == (status, {960, 982})
    with pytest.raises(PolicyError, match="advisories not accepted: INTEL-SA-00982"):
        check(evidence, given, replace(GENEROUS, accepted_advisories=frozenset({960})))
    if status != "UpToDate":
        with pytest.raises(PolicyError, match=f"status {status}"):
            check(evidence, given, replace(GENEROUS, accepted_statuses=frozenset({TcbStatus.UP_TO_DATE})))


def test_verify_revoked_level_is_refused_whatever_the_policy():
    with pytest.raises((RevokedError, NotGenuineError), match=r"[Rr]evoked"):
        check(given=collateral(status="Revoked"), policy=GENEROUS)


def test_verify_out_of_date_counts_from_the_better_level_and_ends_with_the_grace_period():
    given = collateral(status="OutOfDate")
    grace_s = NOW_S - NEW_S
    attestation = check(given=given, policy=replace(GENEROUS, grace_period_s=grace_s))
    assert (attestation.out_of_date_since_s, attestation.valid_until_s) == (NEW_S, NOW_S)
    with pytest.raises(PolicyError, match="longer than the grace period"):
        check(given=given, policy=replace(GENEROUS, grace_period_s=grace_s - 1))


def test_verify_evaluation_number_is_the_lower_of_both_documents():
    identity = PKI.qe_identity("TDX", evaluation_number=17)
    given = collateral(qe_identity=identity, evaluation_number=19)
    assert check(given=given, policy=replace(DEVELOPMENT, minimum_evaluation_number=17)).evaluation_number == 17
    with pytest.raises(PolicyError, match="evaluation number 17, below 18"):
        check(given=given, policy=replace(DEVELOPMENT, minimum_evaluation_number=18))


def test_verify_platform_lists_name_machines():
    own, other = (dcap_platform(machine(number).ppid, bytes(2)) for number in (1, 2))
    listed = replace(DEVELOPMENT, listed_platforms_only=True, allowed_platforms=frozenset({own}))
    assert check(policy=listed).platform == own
    with pytest.raises(PolicyError, match="is not listed"):
        check(policy=replace(listed, allowed_platforms=frozenset({other})))
    with pytest.raises(PolicyError, match="is denied"):
        check(policy=replace(listed, denied_platforms=frozenset({own})))


def test_verify_machine_of_the_processor_authority_is_accepted():
    pki = PKI.on(processor_platform())
    assert check(quote(pki=pki), collateral(pki)).status is TcbStatus.UP_TO_DATE


def test_verify_pck_revocation_list_of_the_other_authority_is_refused():
    pki = PKI.on(processor_platform())
    with pytest.raises(NotGenuineError, match="another authority"):
        check(quote(pki=pki), collateral())


@pytest.mark.parametrize(
    ("changes", "who"),
    [
        ({"revoked_pcks": [PKI.pck.certificate.serial_number]}, "the PCK"),
        ({"revoked_by_root": [PKI.pck_authority.certificate.serial_number]}, "the authority of the PCK"),
        ({"revoked_by_root": [PKI.tcb_signer.certificate.serial_number]}, "the signer of TCB info"),
        ({"revoked_by_root": [PKI.root.certificate.serial_number]}, "the root"),
    ],
)
def test_verify_revoked_certificate_is_refused(changes, who):
    with pytest.raises(RevokedError, match=f"{who} is revoked"):
        check(given=collateral(**changes))


@pytest.mark.parametrize("name", ["root", "authority", "tcb_signer", "pck"])
@pytest.mark.parametrize("validity", [Validity(not_after_s=NOW_S - 1), Validity(not_before_s=NOW_S + 1)])
def test_verify_certificate_not_valid_now_is_refused(name, validity):
    pki = replace(PKI, validity={name: validity})
    policy = replace(
        DEVELOPMENT, roots=DEVELOPMENT.roots | Policy.development([hashlib.sha256(pki.root.der).digest()]).roots
    )
    with pytest.raises(CollateralError, match=r"expired|not valid yet"):
        check(quote(pki=pki), collateral(pki), policy)


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity", "pck_crl", "root_crl"])
@pytest.mark.parametrize("issued_s", [NOW_S + 1, NOW_S - 30 * 86_400 - 1])
def test_verify_each_document_and_list_has_to_be_valid_now(part, issued_s):
    stale = collateral(now_s=issued_s)
    fields = [part, f"{part}_signature"] if part in ("tcb_info", "qe_identity") else [part]
    mixed = replace(collateral(), **{field: getattr(stale, field) for field in fields})
    with pytest.raises(CollateralError, match=r"expired|not valid yet"):
        check(given=mixed)


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_verify_document_that_was_changed_is_refused(part):
    given = collateral()
    changed = replace(
        given, **{part: getattr(given, part).replace('"tcbEvaluationDataNumber":18', '"tcbEvaluationDataNumber":19')}
    )
    with pytest.raises(NotGenuineError, match="dcap-qvl refuses"):
        check(given=changed)


def test_verify_collateral_for_the_other_technology_is_refused():
    with pytest.raises(AttestationError):
        check(quote(QuoteKind.SGX_V3), collateral(tee="TDX"))


@pytest.mark.parametrize("platform", [machine(1, fmspc=bytes(6)), machine(1, pce_id=b"\1\0")])
def test_verify_tcb_info_of_another_model_or_pce_is_refused(platform):
    other = PKI.on(platform)
    with pytest.raises(AttestationError, match=r"FMSPC|Fmspc"):
        check(given=collateral(tcb_info=other.tcb_info("TDX")))


def test_verify_platform_below_every_level_is_refused():
    old = PKI.on(machine(1, pce_svn=1))
    with pytest.raises(AttestationError, match=r"[Nn]o (matching )?TCB level"):
        check(quote(pki=old), collateral())


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        (QuoteKind.SGX_V3, {"flags": 0x05 | SGX_DEBUG}, "debug enclave"),
        (QuoteKind.TDX_V4, {"td_attributes": TD_SEPT_VE_DISABLE | TD_DEBUG}, "debug TD"),
        (QuoteKind.TDX_V4, {"td_attributes": TD_SEPT_VE_DISABLE | 2}, "debug TD"),
        (QuoteKind.TDX_V4, {"td_attributes": 0}, "SEPT_VE_DISABLE is off"),
        (QuoteKind.TDX_V5, {"td_attributes": TD_SEPT_VE_DISABLE | 1 << 29}, "reserved TD attributes"),
        (QuoteKind.TDX_V5, {"td_attributes": TD_SEPT_VE_DISABLE | 1 << 40}, "reserved TD attributes"),
        (QuoteKind.TDX_V5_TD15, {"mr_service_td": b"\1" + bytes(47)}, "MR_SERVICE_TD"),
    ],
)
def test_verify_unprotected_mode_is_refused_whatever_the_policy(kind, changes, reason):
    with pytest.raises(PolicyError, match=reason) as refused:
        check(quote(kind, **changes), collateral(tee=kind.tee), GENEROUS)
    assert refused.value.attestation is None


def test_verify_report_data_tail_is_refused_unless_taken():
    evidence = PKI.quote(QuoteKind.TDX_V4, bytes(range(33)))
    with pytest.raises(PolicyError, match="report data goes on"):
        check(evidence)
    attestation = check(evidence, policy=replace(DEVELOPMENT, takes_any_report_data=True))
    assert attestation.report_data_tail == b"\x20" + bytes(31)


@pytest.mark.parametrize(
    ("qe_status", "platform_status", "expected"),
    [
        ("OutOfDate", "UpToDate", TcbStatus.OUT_OF_DATE),
        ("OutOfDate", "SWHardeningNeeded", TcbStatus.OUT_OF_DATE),
        ("OutOfDate", "ConfigurationNeeded", TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED),
        ("OutOfDate", "ConfigurationAndSWHardeningNeeded", TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED),
        ("UpToDate", "OutOfDateConfigurationNeeded", TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED),
    ],
)
def test_verify_quoting_enclave_out_of_date_makes_the_platform_so(qe_status, platform_status, expected):
    identity = PKI.qe_identity("TDX", levels=(IsvLevel(9), IsvLevel(8, qe_status, ("INTEL-SA-00960",), OLD_S)))
    attestation = check(given=collateral(qe_identity=identity, status=platform_status), policy=GENEROUS)
    assert (attestation.status, attestation.out_of_date_since_s) == (expected, NEW_S)
    assert attestation.advisories == {960}


def test_verify_tdx_module_level_counts():
    modules = (TdxModule(identity="TDX_01", levels=(IsvLevel(9), IsvLevel(5, "OutOfDate", ADVISORIES, OLD_S))),)
    given = collateral(tcb_info=PKI.tcb_info("TDX", modules=modules))
    attestation = check(given=given, policy=GENEROUS)
    assert (attestation.status, attestation.advisories) == (TcbStatus.OUT_OF_DATE, {960, 982})


@pytest.mark.parametrize(
    "modules",
    [
        (),
        (TdxModule(identity="TDX_03", levels=(IsvLevel(1),)),),
        (TdxModule(identity="TDX_01", levels=(IsvLevel(6),)),),
        (TdxModule(identity="TDX_01", levels=(IsvLevel(1),), mr_signer=b"\1" * 48),),
        (TdxModule(identity="TDX_01", levels=(IsvLevel(1),), attributes=b"\1" * 8),),
    ],
)
def test_verify_tdx_module_that_intel_does_not_describe_is_refused(modules):
    with pytest.raises(AttestationError, match="TDX module"):
        check(given=collateral(tcb_info=PKI.tcb_info("TDX", modules=modules)), policy=GENEROUS)


def test_verify_more_advisories_than_a_word_holds_is_refused():
    advisories = tuple(advisory_text(number) for number in range(1, 18))
    policy = replace(GENEROUS, accepted_advisories=frozenset(range(1, 17)))
    assert (
        len(check(given=collateral(status="SWHardeningNeeded", advisories=advisories[:16]), policy=policy).advisories)
        == 16
    )
    with pytest.raises(CollateralError, match="17 advisories"):
        check(given=collateral(status="SWHardeningNeeded", advisories=advisories), policy=policy)


@pytest.mark.parametrize(
    "name", ["INTEL-SA-0615", "INTEL-SA-00000", "INTEL-SA-99999", "intel-sa-00615", "INTEL-SA-٠٠٦١٥"]
)
def test_verify_advisory_that_is_not_understood_is_refused(name):
    with pytest.raises(CollateralError, match="not understood"):
        check(given=collateral(status="SWHardeningNeeded", advisories=(name,)), policy=GENEROUS)


def test_verify_attestation_key_that_the_quoting_enclave_did_not_name_is_refused():
    enclave = PKI.quoting_enclave("TDX")
    report = PKI.td_report(report_data=bytes(64))
    own = SgxReport(parse_quote(PKI.quote_of(QuoteKind.TDX_V4, report, enclave)).qe_report).report_data
    with pytest.raises(NotGenuineError, match="dcap-qvl refuses"):
        check(PKI.quote_of(QuoteKind.TDX_V4, report, replace(enclave, bound_data=bytes(64))))
    with pytest.raises(NotGenuineError, match="something else"):
        check(PKI.quote_of(QuoteKind.TDX_V4, report, replace(enclave, bound_data=own[:32] + bytes(31) + b"\1")))


def test_verify_chain_without_root_is_refused():
    report = PKI.td_report(report_data=bytes(64))
    with pytest.raises(NotGenuineError, match="2 certificates"):
        check(PKI.quote_of(QuoteKind.TDX_V4, report, chain=PKI.pck.pem + PKI.pck_authority.pem))


def test_verify_without_collateral_is_refused():
    with pytest.raises(CollateralError, match="Intel's collateral"):
        verify(quote(), None, NOW_S, DEVELOPMENT)


@pytest.mark.parametrize("now_s", [-1, 1 << 40])
def test_verify_time_that_is_none_is_refused(now_s):
    with pytest.raises(EncodingError, match="not a time"):
        check(now_s=now_s)


@pytest.mark.parametrize("first", list(TcbStatus))
def test_merge_statuses_of_any_three_is_the_same_in_any_order(first):
    for second in TcbStatus:
        assert merge_statuses(first, second) == merge_statuses(second, first) >= max(first, second)
        for third in TcbStatus:
            left = merge_statuses(merge_statuses(first, second), third)
            assert left == merge_statuses(first, merge_statuses(second, third))


def test_collateral_json_is_what_the_development_pki_made():
    made = PKI.collateral("TDX")
    given = DcapCollateral.parse(made.json().encode())
    assert (given.tcb_info, given.root_crl, given.pck_crl_chain) == (
        made.tcb_info,
        made.root_ca_crl,
        made.pck_crl_issuer_chain,
    )
