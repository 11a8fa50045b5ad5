"""SEV-SNP reports of the development PKI."""

import hashlib
from dataclasses import replace
from functools import cache

import pytest
from cryptography import x509

from oracle.attestation.development.snp import DevelopmentSnp
from oracle.attestation.development.snp_report import SNP_POLICY, SNP_POLICY_DEBUG, SNP_POLICY_MIGRATE
from oracle.attestation.development.snp_report import SnpTcb as DevelopmentTcb
from oracle.attestation.errors import CollateralError, NotGenuineError, PolicyError, RevokedError, UntrustedRootError
from oracle.attestation.measurements import snp_measurement
from oracle.attestation.policy import Policy
from oracle.attestation.snp.report import SnpTcb
from oracle.attestation.snp.verifier import AmdCollateral
from oracle.attestation.verifier import verify
from oracle.attestation.x509 import read_certificate, read_crl
from oracle.crypto.hashing import keccak256
from oracle.errors import AttestationError, EncodingError, InvalidInputError
from oracle.types.attestation import TcbStatus, TeeKind
from tests.unit.attestation.samples import NOW_S, REPORT_DATA

TURIN_TCB = DevelopmentTcb(fmc=1, bootloader=2, tee=3, snp=4, microcode=5)


@cache  # RSA keys take long to find
def amd(product="Milan") -> DevelopmentSnp:
    snp = DevelopmentSnp(product=product) if product == "Milan" else replace(amd(), product=product)
    return replace(snp, tcb=TURIN_TCB) if product == "Turin" else snp


def policy(snp: DevelopmentSnp, **changes) -> Policy:
    development = Policy.development([hashlib.sha256(snp.certificates()["ark"]).digest()])
    return replace(development, **changes)


def given_by(snp: DevelopmentSnp, *crls: bytes) -> AmdCollateral:
    certificates = tuple(read_certificate(content, "it") for content in snp.certificates().values())
    return AmdCollateral(certificates, tuple(read_crl(crl, "it") for crl in crls))


def check(snp, report=None, collateral=None, now_s=NOW_S, **changes):
    evidence = snp.report(REPORT_DATA) if report is None else report
    return verify(evidence, collateral or given_by(snp), now_s, policy(snp, **changes))


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
@pytest.mark.parametrize("is_vlek", [False, True])
def test_verify_development_report_gives_an_attestation(product, is_vlek):
    snp = replace(amd(product), is_vlek=is_vlek)
    cpuid = {"cpuid": b"\x1a\x02\x01"} if product == "Turin" else {}
    report = snp.report(REPORT_DATA, hashlib.sha384(product.encode()).digest(), **cpuid)
    attestation = check(snp, report)
    assert (attestation.kind, attestation.status) == (TeeKind.SEV_SNP, TcbStatus.UP_TO_DATE)
    assert attestation.measurement == snp_measurement(report)
    assert (attestation.report_data, attestation.report_data_tail) == (REPORT_DATA, bytes(32))
    assert attestation.platform == keccak256(snp.chip_id)


def test_verify_development_report_under_production_policy_is_refused():
    snp = amd()
    with pytest.raises(UntrustedRootError):
        verify(snp.report(REPORT_DATA), given_by(snp), NOW_S, Policy())


def test_verify_key_under_another_root_of_the_same_name_is_refused():
    snp = amd()
    swapped = replace(snp, ark_key=snp.ask_key)
    certificates = given_by(snp).certificates[1:] + given_by(swapped).certificates[:1]
    with pytest.raises(NotGenuineError, match="not signed by its issuer"):
        check(swapped, snp.report(REPORT_DATA), AmdCollateral(certificates))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"policy": SNP_POLICY | SNP_POLICY_DEBUG}, "debug guest"),
        ({"policy": SNP_POLICY | SNP_POLICY_MIGRATE}, "migrated"),
        ({"vmpl": 1}, "VMPL 1"),
        ({"report_data": bytes(range(1, 65))}, "report data goes on"),
    ],
)
def test_verify_genuine_report_that_the_policy_refuses_carries_the_attestation(fields, reason):
    snp = amd()
    fields = {"report_data": REPORT_DATA, **fields}
    with pytest.raises(PolicyError, match=reason) as refused:
        check(snp, snp.report(**fields))
    assert refused.value.attestation is not None


def test_verify_vmpl_up_to_the_policy_is_accepted():
    assert check(amd(), amd().report(REPORT_DATA, vmpl=2), maximum_vmpl=2).kind is TeeKind.SEV_SNP


def test_verify_masked_chip_id_is_refused():
    snp = replace(amd(), is_vlek=True)
    with pytest.raises(PolicyError, match="no platform is named"):
        check(snp, snp.report(REPORT_DATA, chip_id=bytes(64)))


def test_verify_firmware_below_the_minimum_is_refused():
    least = SnpTcb(bootloader=3, snp=8, microcode=115)
    check(amd(), minimum_snp_tcb={"Milan": least, "Genoa": replace(least, snp=99)})
    with pytest.raises(PolicyError, match="below"):
        check(amd(), minimum_snp_tcb={"Milan": replace(least, microcode=116)})


@pytest.mark.parametrize(
    "fields",
    [
        {"tcb": DevelopmentTcb(bootloader=2)},
        {"tcb": DevelopmentTcb(tee=1)},
        {"tcb": DevelopmentTcb(snp=9)},
        {"tcb": DevelopmentTcb(microcode=114)},
    ],
)
def test_verify_report_of_other_firmware_than_its_key_is_refused(fields):
    with pytest.raises(NotGenuineError, match="the key stands for"):
        check(amd(), amd().report(REPORT_DATA, **fields))


def test_verify_report_of_another_chip_than_its_key_is_refused():
    with pytest.raises(CollateralError, match="no VCEK"):
        check(amd(), amd().report(REPORT_DATA, chip_id=bytes(63) + b"\1"))


@pytest.mark.parametrize("key_info", [1 << 2, 7 << 2, 2])
def test_verify_report_that_names_another_kind_of_key_is_refused(key_info):
    with pytest.raises((CollateralError, NotGenuineError)):
        check(amd(), amd().report(REPORT_DATA, key_info=key_info))


def test_verify_report_of_another_product_is_refused():
    genoa = amd("Genoa")
    turin_report = replace(genoa, product="Genoa").report(REPORT_DATA)
    changed = bytearray(turin_report)
    changed[392:394] = b"\x19\x01"  # Milan's CPUID
    with pytest.raises(NotGenuineError):
        check(genoa, bytes(changed))


def test_verify_every_flipped_byte_of_a_report_is_refused():
    snp = amd()
    report, collateral = snp.report(REPORT_DATA), given_by(snp)
    for index in range(len(report)):
        flipped = bytes((*report[:index], report[index] ^ 1 << index % 8, *report[index + 1 :]))
        with pytest.raises((AttestationError, InvalidInputError)):
            check(snp, flipped, collateral)


def test_verify_revoked_authority_is_refused():
    snp = amd()
    crl = snp.revocation_list(NOW_S - 1, NOW_S + 1, [snp.ask.serial_number])
    with pytest.raises(RevokedError):
        check(snp, collateral=given_by(snp, crl))


@pytest.mark.parametrize(("from_s", "until_s"), [(NOW_S + 1, NOW_S + 2), (NOW_S - 2, NOW_S - 1)])
def test_verify_revocation_list_not_valid_now_is_refused(from_s, until_s):
    with pytest.raises(CollateralError, match=r"expired|not valid yet"):
        check(amd(), collateral=given_by(amd(), amd().revocation_list(from_s, until_s)))


def test_verify_revocation_list_bounds_the_validity_and_can_be_required():
    snp = amd()
    with pytest.raises(CollateralError, match="no revocation list"):
        check(snp, is_amd_crl_required=True)
    given = given_by(snp, snp.revocation_list(NOW_S - 1, NOW_S + 100))
    assert check(snp, collateral=given, is_amd_crl_required=True).valid_until_s == NOW_S + 100


def test_verify_revocation_list_by_somebody_else_is_refused():
    snp = amd()
    forged = replace(snp, ark_key=snp.ask_key).revocation_list(NOW_S - 1, NOW_S + 1)
    with pytest.raises(NotGenuineError, match="not signed by"):
        check(snp, collateral=given_by(snp, forged))


def test_verify_expired_chain_is_refused():
    with pytest.raises(CollateralError, match="expired"):
        check(amd(), now_s=2_500_000_000)


@pytest.mark.parametrize("missing", ["ark", "ask", "vcek"])
def test_verify_missing_certificate_is_named(missing):
    chain = amd().certificates()
    certificates = tuple(read_certificate(der, "it") for name, der in chain.items() if name != missing)
    with pytest.raises(CollateralError, match="among the"):
        check(amd(), collateral=AmdCollateral(certificates))


def test_verify_report_with_collateral_of_intel_is_refused():
    with pytest.raises(CollateralError, match="AMD's certificates"):
        verify(amd().report(REPORT_DATA), None, NOW_S, policy(amd()))


@pytest.mark.parametrize("version", [0, 1, 4, 5, 1 << 31])
def test_parse_report_version_that_is_not_understood_is_refused(version):
    with pytest.raises(EncodingError):
        check(amd(), amd().report(REPORT_DATA, version=version))


def test_amd_collateral_too_large_is_refused():
    certificate = x509.load_der_x509_certificate(amd().certificates()["ark"])
    with pytest.raises(CollateralError, match="more than"):
        AmdCollateral((certificate,) * 33)
