"""Every recorded piece of evidence, at a time when its collateral was valid, and what happens to it when it is not."""

from dataclasses import replace

import pytest

from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.trim import low_s, onchain_evidence, trim, untrim
from oracle.attestation.errors import CollateralError, NotGenuineError, PolicyError, UntrustedRootError
from oracle.attestation.policy import Policy
from oracle.attestation.verifier import verify
from oracle.errors import AttestationError, EncodingError, InvalidInputError
from oracle.types.attestation import TcbStatus, TeeKind, advisory_text
from tests.unit.attestation.samples import ANY_REPORT_DATA, parts_of, real, unix_s

PHALA_SGX = ("sgx/phala__sgx_quote_collateral.json",)
PHALA_TDX = ("tdx/phala__tdx_quote_collateral.json",)
PHALA_V5 = ("tdx/phala__tdx_quote_outdated_collateral.json",)
AUTOMATA_SGX = (
    "sgx/automata_evm__0825_platform_crl.der",
    "sgx/automata_evm__0825_sgx_qeidentity_v4.json",
    "sgx/automata_evm__0825_sgx_tcbinfov3_00606a000000.json",
    "sgx/automata_solana__intel_root_ca_crl.der",
    "sgx/automata_solana__signing.der",
)
AUTOMATA_TDX = (
    "tdx/automata_solana__qe_identity.json",
    "tdx/automata_solana__tcb_info_v3_with_tdx_module.json",
    "sgx/automata_solana__intel_root_ca_crl.der",
    "sgx/automata_solana__pck_platform_crl.der",
    "sgx/automata_solana__signing.der",
)
MILAN = ("snp/trustee__milan_ask_ark_asvk.pem", "snp/trustee__test-vcek.der")
GENOA = ("snp/trustee__genoa_ask_ark_asvk.pem", "snp/trustee__az_vcek-genoa.pem")
GOSEV = ("snp/gosev__ask_ark_milan.pem", "snp/gosev__vcek.testcer")

GENUINE_QUOTES = [
    ("sgx/phala__sgx_quote", PHALA_SGX, "2025-07-01", 3, {289, 615}),
    ("sgx/automata__quotev3.hex", AUTOMATA_SGX, "2025-08-20", 1, {615}),
    ("tdx/phala__tdx_quote", PHALA_TDX, "2025-07-01", 0, set()),
    ("tdx/gotdx__cos-113-tdx-quote.dat", AUTOMATA_TDX, "2025-07-20", 0, set()),
    ("tdx/automata_solana__quote_tdx.bin", AUTOMATA_TDX, "2025-07-20", 4, {960, 982, 986}),
    ("tdx/gotdx__quote_v5_sample.dat", PHALA_V5, "2026-03-01", 0, set()),
]
REFUSED_QUOTES = [
    ("sgx/automata_solana__quote_sgx.bin", PHALA_SGX, "2025-07-01", PolicyError, "debug enclave"),
    ("tdx/automata__quotev5.dat", PHALA_V5, "2026-03-01", PolicyError, "MR_SERVICE_TD"),
    ("tdx/phala__tdx_quote_outdated", PHALA_V5, "2026-03-01", AttestationError, "[Nn]o (matching )?TCB level"),
    ("tdx/trustee__az_td-quote.bin", AUTOMATA_TDX, "2025-07-20", PolicyError, "SEPT_VE_DISABLE is off"),
    ("tdx/trustee__tdx_quote_4.dat", PHALA_TDX, "2025-07-01", PolicyError, "debug TD"),
]


def everything(status: int, advisories: set[int]) -> Policy:
    return replace(
        ANY_REPORT_DATA,
        accepted_statuses=frozenset({TcbStatus(status)}),
        accepted_advisories=frozenset(advisories),
        grace_period_s=10 * 365 * 86_400,
    )


def dcap(quote: bytes, names: tuple[str, ...], now_s: int) -> DcapCollateral:
    return parts_of(*names).for_quote(parse_quote(quote), now_s)


def phala_tdx() -> tuple[bytes, DcapCollateral, int]:
    return real("tdx/phala__tdx_quote"), DcapCollateral.parse(real(PHALA_TDX[0])), unix_s("2025-07-01")


@pytest.mark.parametrize(("name", "parts", "at", "status", "advisories"), GENUINE_QUOTES)
def test_verify_genuine_quote_gives_status_and_advisories(name, parts, at, status, advisories):
    quote, now_s = real(name), unix_s(at)
    attestation = verify(quote, dcap(quote, parts, now_s), now_s, everything(status, advisories))
    assert (attestation.status, attestation.advisories) == (status, advisories)
    assert attestation.kind is (TeeKind.SGX if name.startswith("sgx") else TeeKind.TDX)
    assert attestation.valid_until_s > now_s
    assert bool(attestation.out_of_date_since_s) is attestation.status.is_out_of_date


@pytest.mark.parametrize(("name", "parts", "at", "status", "advisories"), GENUINE_QUOTES)
def test_verify_status_or_advisory_not_accepted_is_refused_with_the_attestation(name, parts, at, status, advisories):
    if status == 0:
        return
    quote, now_s = real(name), unix_s(at)
    with pytest.raises(PolicyError) as refused:
        verify(quote, dcap(quote, parts, now_s), now_s, ANY_REPORT_DATA)
    assert refused.value.attestation.status == status
    assert f"status {TcbStatus(status).text}" in refused.value.reasons
    assert any(all(advisory_text(number) in reason for number in advisories) for reason in refused.value.reasons)


@pytest.mark.parametrize(("name", "parts", "at", "status", "advisories"), GENUINE_QUOTES)
def test_verify_trimmed_quote_gives_the_same_attestation(name, parts, at, status, advisories):
    quote, now_s = real(name), unix_s(at)
    collateral, policy = dcap(quote, parts, now_s), everything(status, advisories)
    trimmed = onchain_evidence(parse_quote(quote)).trimmed
    assert verify(trimmed, collateral, now_s, policy) == verify(quote, collateral, now_s, policy)


@pytest.mark.parametrize(("name", "parts", "at", "error", "reason"), REFUSED_QUOTES)
def test_verify_rejected_sample_is_refused(name, parts, at, error, reason):
    quote, now_s = real(name), unix_s(at)
    try:
        collateral = dcap(quote, parts, now_s)
    except CollateralError:  # no document was recorded for this model; the mode is refused before collateral is read
        collateral = DcapCollateral.parse(real(PHALA_TDX[0]))
    with pytest.raises(error, match=reason):
        verify(quote, collateral, now_s, everything(0, set()))


@pytest.mark.parametrize(
    ("at", "reason"), [("2025-06-18", "not valid yet"), ("2025-07-20", "expired"), ("2055-01-01", "expired")]
)
def test_verify_outside_the_collateral_window_is_refused(at, reason):
    quote, collateral, _ = phala_tdx()
    with pytest.raises(CollateralError, match=reason):
        verify(quote, collateral, unix_s(at), ANY_REPORT_DATA)


def test_verify_report_data_of_another_convention_is_refused_unless_taken():
    quote, collateral, now_s = phala_tdx()
    with pytest.raises(PolicyError, match="report data goes on"):
        verify(quote, collateral, now_s, Policy())
    attestation = verify(quote, collateral, now_s, ANY_REPORT_DATA)
    assert attestation.report_data + attestation.report_data_tail == parse_quote(quote).report.report_data


def test_verify_intel_root_under_development_policy_is_refused():
    quote, collateral, now_s = phala_tdx()
    with pytest.raises(UntrustedRootError):
        verify(quote, collateral, now_s, Policy.development([bytes(32)]))


def test_verify_collateral_of_another_model_is_refused():
    quote, _, now_s = phala_tdx()
    with pytest.raises(AttestationError):
        verify(quote, DcapCollateral.parse(real(PHALA_SGX[0])), now_s, ANY_REPORT_DATA)


def test_verify_upper_s_is_accepted_in_a_whole_quote_and_refused_in_a_trimmed_one():
    quote, collateral, now_s = phala_tdx()
    parsed = parse_quote(quote)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = parsed.signature[:32] + (order - int.from_bytes(parsed.signature[32:])).to_bytes(32)
    assert low_s(twin) == low_s(parsed.signature)
    high = max(twin, parsed.signature, key=lambda signature: signature[32:])
    chain = parsed.certification_data.decode().rstrip("\0")
    attestation = verify(untrim(replace(parsed, signature=high), chain), collateral, now_s, ANY_REPORT_DATA)
    assert attestation == verify(quote, collateral, now_s, ANY_REPORT_DATA)
    trimmed = trim(parsed)
    with pytest.raises(EncodingError, match="not canonical"):
        verify(trimmed.replace(low_s(twin), high), replace(collateral, pck_chain=chain), now_s, ANY_REPORT_DATA)


@pytest.mark.parametrize("junk", [b"\x01", b"\0\0\x01", b"junk"])
def test_verify_junk_after_the_quote_is_refused_and_zeros_are_not(junk):
    quote, collateral, now_s = phala_tdx()
    with pytest.raises(EncodingError, match="follow the quote"):
        verify(quote + junk, collateral, now_s, ANY_REPORT_DATA)
    assert verify(quote + bytes(100), collateral, now_s, ANY_REPORT_DATA) == verify(
        quote, collateral, now_s, ANY_REPORT_DATA
    )


@pytest.mark.parametrize(("name", "parts", "at", "status", "advisories"), GENUINE_QUOTES[::2])
def test_verify_every_flipped_byte_of_a_trimmed_quote_is_refused(name, parts, at, status, advisories):
    quote, now_s = real(name), unix_s(at)
    collateral, policy = dcap(quote, parts, now_s), everything(status, advisories)
    trimmed = trim(parse_quote(quote))
    verify(trimmed, collateral, now_s, policy)
    for index in range(len(trimmed)):
        flipped = bytes((*trimmed[:index], trimmed[index] ^ 1 << index % 8, *trimmed[index + 1 :]))
        with pytest.raises((AttestationError, InvalidInputError)):
            verify(flipped, collateral, now_s, policy)


def test_verify_flipped_byte_of_a_whole_quote_is_refused_or_changes_nothing():
    quote, collateral, now_s = phala_tdx()
    expected = verify(quote, collateral, now_s, ANY_REPORT_DATA)
    accepted = 0
    for index in range(0, len(quote), 3):  # all bytes take 15 s
        flipped = bytes((*quote[:index], quote[index] ^ 1, *quote[index + 1 :]))
        try:
            assert verify(flipped, collateral, now_s, ANY_REPORT_DATA) == expected
        except (AttestationError, InvalidInputError):
            continue
        accepted += 1
    assert accepted < 40  # line breaks of the PEM chain; nothing names anything by a quote's bytes


@pytest.mark.parametrize(
    ("name", "parts"), [("trustee__test-report.bin", MILAN), ("trustee__az_genoa_report_extracted.bin", GENOA)]
)
def test_verify_genuine_snp_report_is_accepted(name, parts):
    attestation = verify(real(f"snp/{name}"), parts_of(*parts).for_snp(), unix_s("2025-07-01"), ANY_REPORT_DATA)
    assert (attestation.kind, attestation.status) == (TeeKind.SEV_SNP, TcbStatus.UP_TO_DATE)


def test_verify_debug_snp_report_is_genuine_but_refused():
    with pytest.raises(PolicyError, match="debug guest") as refused:
        verify(real("snp/gosev__attestation.bin"), parts_of(*GOSEV).for_snp(), unix_s("2025-07-01"), ANY_REPORT_DATA)
    assert refused.value.attestation is not None


def test_verify_snp_report_with_keys_of_another_chip_is_refused():
    with pytest.raises(CollateralError, match="no VCEK"):
        verify(real("snp/trustee__test-report.bin"), parts_of(*GOSEV).for_snp(), unix_s("2025-07-01"), ANY_REPORT_DATA)


def test_verify_snp_report_after_its_key_expired_is_refused():
    with pytest.raises(CollateralError, match="expired"):
        verify(real("snp/trustee__test-report.bin"), parts_of(*MILAN).for_snp(), unix_s("2031-01-01"), ANY_REPORT_DATA)


def test_verify_every_flipped_byte_of_an_snp_report_is_refused():
    report, collateral = real("snp/trustee__test-report.bin"), parts_of(*MILAN).for_snp()
    for index in range(len(report)):
        flipped = bytes((*report[:index], report[index] ^ 1 << index % 8, *report[index + 1 :]))
        with pytest.raises((AttestationError, InvalidInputError)):
            verify(flipped, collateral, unix_s("2025-07-01"), ANY_REPORT_DATA)


NITRO = "nitro/dstack__nitro_attestation_cose_extracted.cbor"
NITRO_AT = "2025-12-25T16:04:19"


def test_verify_genuine_nitro_document_is_accepted():
    attestation = verify(real(NITRO), None, unix_s(NITRO_AT), ANY_REPORT_DATA)
    assert (attestation.kind, attestation.valid_until_s) == (TeeKind.NITRO, unix_s("2025-12-25T19:04:19"))


def test_verify_debug_nitro_document_is_genuine_but_refused():
    document = real("nitro/dstack__nitro_attestation_dbg_cose_extracted.cbor")
    with pytest.raises(PolicyError, match="debug enclave") as refused:
        verify(document, None, unix_s("2025-12-25T08:20:46"), ANY_REPORT_DATA)
    assert refused.value.attestation is not None


@pytest.mark.parametrize("at", ["2025-12-25T16:10:00", "2025-12-25T16:00:00"])
def test_verify_nitro_document_too_old_or_from_the_future_is_refused(at):
    with pytest.raises(CollateralError, match="s old"):
        verify(real(NITRO), None, unix_s(at), ANY_REPORT_DATA)


def test_verify_flipped_byte_of_a_nitro_document_is_refused():
    document = real(NITRO)
    for index in range(0, len(document), 5):  # development evidence has every byte flipped
        flipped = bytes((*document[:index], document[index] ^ 1 << index % 8, *document[index + 1 :]))
        with pytest.raises((AttestationError, InvalidInputError)):
            verify(flipped, None, unix_s(NITRO_AT), ANY_REPORT_DATA)


def test_verify_nitro_root_not_trusted_is_refused():
    with pytest.raises(UntrustedRootError):
        verify(real(NITRO), None, unix_s(NITRO_AT), Policy.development([bytes(32)]))


def test_verify_quote_signed_by_nobody_is_not_genuine():
    quote, collateral, now_s = phala_tdx()
    flipped = quote[:200] + bytes([quote[200] ^ 1]) + quote[201:]  # MRTD
    with pytest.raises(NotGenuineError, match="signature"):
        verify(flipped, collateral, now_s, ANY_REPORT_DATA)
