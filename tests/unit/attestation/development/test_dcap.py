"""dcap-qvl, which knows nothing of us, accepts what the development PKI makes under its root, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.attestation.development.certificates import Validity
from oracle.attestation.development.collateral import OLD_S, STATUSES, IsvLevel, PublishedCollateral, TdxModule
from oracle.attestation.development.dcap import DevelopmentPki, machine, processor_platform
from oracle.attestation.development.keys import p256_key
from oracle.attestation.development.platform import SGX_EXTENSION
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.development.reports import SGX_DEBUG, TD_DEBUG

dcap_qvl = pytest.importorskip("dcap_qvl")

NOW_S = 1_780_000_000
DAY_S = 86_400
PKI = DevelopmentPki(b"a test", NOW_S)
OTHER = DevelopmentPki(b"another seed", NOW_S)
REPORT_DATA = bytes(range(64))
REAL = Path(__file__).parents[5] / "shared" / "vectors" / "quotes"
BUILD = b"\x0b" * 32
SGX, TDX, TDX15 = QuoteKind.SGX_V3, QuoteKind.TDX_V4, QuoteKind.TDX_V5_TD15
QE = PKI.quoting_enclave("TDX").report
kinds = pytest.mark.parametrize("kind", QuoteKind)


def verified(quote: bytes, collateral: PublishedCollateral, pki: DevelopmentPki = PKI, at_s: int = NOW_S) -> object:
    """dcap-qvl's report, or ValueError."""
    parsed = dcap_qvl.QuoteCollateralV3.from_json(collateral.json())
    return dcap_qvl.verify_with_root_ca(quote, parsed, pki.root.der, at_s)


def refused(quote: bytes, collateral: PublishedCollateral, pki: DevelopmentPki = PKI, at_s: int = NOW_S) -> str:
    """Why dcap-qvl refuses."""
    with pytest.raises(ValueError, match=r".+") as caught:
        verified(quote, collateral, pki, at_s)
    return str(caught.value)


@kinds
@pytest.mark.parametrize("platform", [machine(1), machine(7), processor_platform()])
def test_quote_every_kind_and_platform_is_accepted(kind: QuoteKind, platform) -> None:
    pki = PKI.on(platform)
    report = verified(pki.quote(kind, REPORT_DATA, BUILD), pki.collateral(kind.tee))
    assert (report.status, report.advisory_ids, bytes(report.ppid)) == ("UpToDate", [], platform.ppid)


@kinds
def test_quote_carries_report_data_and_build(kind: QuoteKind) -> None:
    report = dcap_qvl.parse_quote(PKI.quote(kind, REPORT_DATA, BUILD)).report
    assert bytes(report.report_data) == REPORT_DATA
    build = report.mr_enclave if kind is SGX else report.mr_td
    assert bytes(build) == (BUILD if kind is SGX else BUILD + bytes(16))


@kinds
def test_quote_same_fields_same_bytes(kind: QuoteKind) -> None:
    again = DevelopmentPki(b"a test", NOW_S)
    assert again.quote(kind, REPORT_DATA, BUILD) == PKI.quote(kind, REPORT_DATA, BUILD)
    assert again.collateral(kind.tee) == PKI.collateral(kind.tee)


@kinds
def test_quote_is_refused_under_every_other_root(kind: QuoteKind) -> None:
    quote, collateral = PKI.quote(kind, REPORT_DATA), PKI.collateral(kind.tee)
    refused(quote, collateral, OTHER)
    with pytest.raises(ValueError, match=r".+"):  # Intel's, which the library has built in
        dcap_qvl.verify(quote, dcap_qvl.QuoteCollateralV3.from_json(collateral.json()), NOW_S)


@kinds
@pytest.mark.parametrize("status", STATUSES[:-1])
def test_collateral_every_status_and_its_advisories_are_reported(kind: QuoteKind, status: str) -> None:
    advisories = ("INTEL-SA-00289", "INTEL-SA-00615")
    report = verified(PKI.quote(kind, REPORT_DATA), PKI.collateral(kind.tee, status=status, advisories=advisories))
    assert (report.status, sorted(report.advisory_ids)) == (status, list(advisories))


@kinds
def test_collateral_revoked_status_is_refused(kind: QuoteKind) -> None:
    assert "Revoked" in refused(PKI.quote(kind, REPORT_DATA), PKI.collateral(kind.tee, status="Revoked"))


@kinds
def test_collateral_quoting_enclave_out_of_date_is_reported(kind: QuoteKind) -> None:
    levels = (IsvLevel(9), IsvLevel(8, "OutOfDate", ("INTEL-SA-00477",), OLD_S))
    identity = PKI.qe_identity(kind.tee, levels=levels)
    report = verified(PKI.quote(kind, REPORT_DATA), PKI.collateral(kind.tee, qe_identity=identity))
    assert (report.status, report.advisory_ids) == ("OutOfDate", ["INTEL-SA-00477"])


def test_collateral_tdx_module_out_of_date_is_reported() -> None:
    levels = (IsvLevel(6), IsvLevel(4, "OutOfDate", ("INTEL-SA-01099",), OLD_S))
    info = PKI.tcb_info("TDX", modules=(TdxModule(identity="TDX_01", levels=levels),))
    report = verified(PKI.quote(TDX, REPORT_DATA), PKI.collateral("TDX", tcb_info=info))
    assert (report.status, report.advisory_ids) == ("OutOfDate", ["INTEL-SA-01099"])


@kinds
@pytest.mark.parametrize("platform", [machine(1), processor_platform()])
def test_collateral_revoked_certificates_are_refused(kind: QuoteKind, platform) -> None:
    pki = PKI.on(platform)
    quote = pki.quote(kind, REPORT_DATA)
    refused(quote, pki.collateral(kind.tee, revoked_pcks=[pki.pck.certificate.serial_number]))
    for authority in (pki.pck_authority, pki.tcb_signer):
        refused(quote, pki.collateral(kind.tee, revoked_by_root=[authority.certificate.serial_number]))
    verified(quote, pki.collateral(kind.tee, revoked_pcks=[PKI.on(machine(99)).pck.certificate.serial_number]))


@kinds
@pytest.mark.parametrize("at_s", [NOW_S - DAY_S, NOW_S + 31 * DAY_S])
def test_collateral_outside_its_time_is_refused(kind: QuoteKind, at_s: int) -> None:
    refused(PKI.quote(kind, REPORT_DATA), PKI.collateral(kind.tee), at_s=at_s)


@pytest.mark.parametrize("name", ["authority", "tcb_signer", "pck"])
def test_certificate_past_its_validity_is_refused(name: str) -> None:
    pki = DevelopmentPki(b"a test", NOW_S, validity={name: Validity(not_after_s=NOW_S - 1)})
    refused(pki.quote(TDX, REPORT_DATA), pki.collateral("TDX"))


def test_collateral_of_another_machine_type_is_refused() -> None:
    other = PKI.on(machine(2, fmspc=bytes.fromhex("00a067110000")))
    refused(PKI.quote(TDX, REPORT_DATA), other.collateral("TDX"))


_FORGED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "debug enclave": ("Debug mode", lambda: PKI.quote(SGX, REPORT_DATA, flags=5 | SGX_DEBUG)),
    "debug domain": ("Debug mode", lambda: PKI.quote(TDX, REPORT_DATA, td_attributes=1 << 28 | TD_DEBUG)),
    "interruptible domain": ("SEPT_VE_DISABLE", lambda: PKI.quote(TDX, REPORT_DATA, td_attributes=0)),
    "migration service": ("MR service TD", lambda: PKI.quote(TDX15, REPORT_DATA, mr_service_td=b"\1" * 48)),
    "foreign module": ("MRSIGNER mismatch", lambda: PKI.quote(TDX, REPORT_DATA, mr_signer_seam=b"\1" * 48)),
    "unknown module": ("TDX_09", lambda: PKI.quote(TDX, REPORT_DATA, tee_tcb_svn=b"\5\x09\2" + bytes(13))),
    "unbound attestation key": ("hash mismatch", lambda: _quoted_by(bound_data=bytes(64))),
    "stolen report": ("hash mismatch", lambda: _quoted_by(attestation_key=p256_key(b"a thief", "key"))),
    "another machine's PCK": ("Signature is invalid", lambda: _quoted_by(signer=PKI.on(machine(3)).pck)),
    "foreign quoting enclave": ("QE MRSIGNER", lambda: _quoted_by(report=replace(QE, mr_signer=bytes(32)))),
    "debug quoting enclave": ("Debug mode", lambda: _quoted_by(report=replace(QE, flags=0x17))),
    "ancient quoting enclave": ("ISVSVN 1", lambda: _quoted_by(report=replace(QE, svn=1))),
}


def _quoted_by(**changes: object) -> bytes:
    enclave = PKI.quoting_enclave("TDX")
    if "attestation_key" in changes:
        honest = enclave.signed_report()[320:384]
        changes["bound_data"] = honest
    return PKI.quote_of(TDX, PKI.td_report(report_data=REPORT_DATA), replace(enclave, **changes))


@pytest.mark.parametrize("name", _FORGED)
def test_quote_every_forgery_is_refused(name: str) -> None:
    reason, forge = _FORGED[name]
    assert reason in refused(forge(), PKI.collateral("SGX" if name == "debug enclave" else "TDX"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(QuoteKind), st.data())
def test_quote_any_flipped_bit_of_header_or_body_is_refused(kind: QuoteKind, data: st.DataObject) -> None:
    quote = bytearray(PKI.quote(kind, REPORT_DATA, BUILD))
    signed = {SGX: 432, TDX: 632, QuoteKind.TDX_V5: 638, TDX15: 702}[kind]
    quote[data.draw(st.integers(0, signed - 1))] ^= 1 << data.draw(st.integers(0, 7))
    refused(bytes(quote), PKI.collateral(kind.tee))


def test_collateral_carries_the_evaluation_number_and_the_signed_text() -> None:
    collateral = PKI.collateral("TDX", evaluation_number=42)
    info, identity = (json.loads(text) for text in (collateral.tcb_info_document(), collateral.qe_identity_document()))
    assert info["tcbInfo"]["tcbEvaluationDataNumber"] == 42
    assert identity["enclaveIdentity"]["tcbEvaluationDataNumber"] == 42
    assert collateral.tcb_info in collateral.tcb_info_document()
    assert bytes.fromhex(identity["signature"]) == collateral.qe_identity_signature


@pytest.mark.skipif(not REAL.is_dir(), reason="real evidence is not beside this checkout")
@pytest.mark.parametrize("name", ["root", "pck_authority", "tcb_signer", "pck"])
def test_certificate_has_names_fields_and_extensions_of_a_real_one(name: str) -> None:
    real, ours = _real_certificate(name), getattr(PKI, name).certificate
    common_names = [
        [attribute.value for attribute in each if attribute.oid == x509.NameOID.COMMON_NAME]
        for each in (real.subject, ours.subject, real.issuer, ours.issuer)
    ]
    assert common_names[0] == common_names[1]
    assert common_names[2] == common_names[3]
    assert [attribute.oid for attribute in real.subject] == [attribute.oid for attribute in ours.subject]
    assert [(it.oid, it.critical) for it in real.extensions] == [(it.oid, it.critical) for it in ours.extensions]
    for kind in (x509.KeyUsage, x509.BasicConstraints):
        assert (
            real.extensions.get_extension_for_class(kind).value == ours.extensions.get_extension_for_class(kind).value
        )
    identifier = ours.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert ours.serial_number == int.from_bytes(identifier) & (1 << 159) - 1  # Intel's are the identifier, too


def _real_certificate(name: str) -> x509.Certificate:
    if name == "pck":
        quote = (REAL / "tdx" / "phala__tdx_quote").read_bytes()
        return x509.load_pem_x509_certificate(quote[quote.index(b"-----BEGIN") :].rstrip(b"\0"))
    file = {
        "root": "intel_root_ca",
        "pck_authority": "automata_solana__platform",
        "tcb_signer": "automata_solana__signing",
    }
    return x509.load_der_x509_certificate((REAL / "sgx" / f"{file[name]}.der").read_bytes())


@pytest.mark.skipif(not REAL.is_dir(), reason="real evidence is not beside this checkout")
@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_documents_have_the_members_of_real_ones_in_their_order(tee: str) -> None:
    file = {"SGX": "sgx/phala__sgx_quote_collateral.json", "TDX": "tdx/phala__tdx_quote_outdated_collateral.json"}
    real, ours = json.loads((REAL / file[tee]).read_text()), PKI.collateral(tee, advisories=("INTEL-SA-00615",))
    for theirs, made in ((real["tcb_info"], ours.tcb_info), (real["qe_identity"], ours.qe_identity)):
        assert _outline(json.loads(made)) == _outline(json.loads(theirs))


def _outline(value: object) -> object:
    """Names and their order; of lists the first member; of optional members none."""
    if isinstance(value, dict):
        return [(name, _outline(it)) for name, it in value.items() if name not in ("advisoryIDs", "category", "type")]
    if isinstance(value, list):
        return [_outline(value[0])]
    return type(value)


def test_certificates_say_that_they_are_for_development() -> None:
    for authority in (PKI.root, PKI.pck_authority, PKI.tcb_signer, PKI.pck):
        [organisation] = authority.certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
        assert organisation.value == "DEVELOPMENT ONLY - NOT INTEL"


def test_platforms_have_keys_and_serial_numbers_of_their_own() -> None:
    pcks = [PKI.on(machine(number)).pck for number in range(1, 6)]
    assert len({pck.certificate.serial_number for pck in pcks}) == len(pcks)
    assert len({pck.certificate.public_key().public_numbers().x for pck in pcks}) == len(pcks)


_REAL_EXTENSION = bytes.fromhex(  # of the machine behind shared/vectors/quotes/tdx/phala__tdx_quote
    "30820226301e060a2a864886f84d010d01010410811dca2a26b952e85bb6448b097ba4fd30820163060a2a864886f84d010d0102308201"
    "533010060b2a864886f84d010d0102010201033010060b2a864886f84d010d0102020201033010060b2a864886f84d010d010203020102"
    "3010060b2a864886f84d010d0102040201023010060b2a864886f84d010d0102050201043010060b2a864886f84d010d01020602010130"
    "10060b2a864886f84d010d0102070201003010060b2a864886f84d010d0102080201053010060b2a864886f84d010d0102090201003010"
    "060b2a864886f84d010d01020a0201003010060b2a864886f84d010d01020b0201003010060b2a864886f84d010d01020c020100301006"
    "0b2a864886f84d010d01020d0201003010060b2a864886f84d010d01020e0201003010060b2a864886f84d010d01020f0201003010060b"
    "2a864886f84d010d0102100201003010060b2a864886f84d010d01021102010b301f060b2a864886f84d010d0102120410030302020401"
    "000500000000000000003010060a2a864886f84d010d0103040200003014060a2a864886f84d010d01040406b0c06f000000300f060a2a"
    "864886f84d010d01050a0101301e060a2a864886f84d010d0106041007828474603e7019dc930775ffe8cdd23044060a2a864886f84d01"
    "0d010730363010060b2a864886f84d010d0107010101ff3010060b2a864886f84d010d0107020101ff3010060b2a864886f84d010d0107"
    "030101ff"
)


def test_sgx_extension_real_machine_is_reproduced_byte_for_byte() -> None:
    platform = machine(
        1,
        ppid=bytes.fromhex("811dca2a26b952e85bb6448b097ba4fd"),
        fmspc=bytes.fromhex("b0c06f000000"),
        pce_svn=11,
        platform_instance_id=bytes.fromhex("07828474603e7019dc930775ffe8cdd2"),
    )
    assert platform.sgx_extension() == _REAL_EXTENSION
    pck = PKI.on(platform).pck
    [found] = [it.value for it in pck.certificate.extensions if it.oid.dotted_string == SGX_EXTENSION]
    assert found.public_bytes() == _REAL_EXTENSION
    assert bytes(dcap_qvl.parse_pck_extension_from_pem(pck.pem).ppid) == platform.ppid
