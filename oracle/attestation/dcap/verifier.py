"""
Verifying SGX and TDX quotes. dcap-qvl does the cryptography; chains, dates, levels and policy are checked here as well,
and the stricter answer counts. This is the only module that imports dcap-qvl.
"""

from __future__ import annotations

import json
from typing import Any, Final

import dcap_qvl  # type: ignore[import-untyped]  # its stubs are not marked as such
from cryptography import x509

from oracle.attestation.dcap.chains import DcapChains
from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.dcap.pck import PckIdentity, parse_pck
from oracle.attestation.dcap.quote import ECDSA_P256, INTEL_QE_VENDOR_ID, PCK_CHAIN, Quote
from oracle.attestation.dcap.reports import SgxReport, TdReport
from oracle.attestation.dcap.tcb_info import QeIdentity, TcbInfo, parse_qe_identity, parse_tcb_info
from oracle.attestation.dcap.tcb_levels import Verdict, judge
from oracle.attestation.dcap.trim import trim, untrim
from oracle.attestation.errors import CollateralError, NotGenuineError, PolicyError, RevokedError
from oracle.attestation.measurements import dcap_platform, sgx_measurement, tdx_measurement
from oracle.attestation.policy import Policy, split_report_data
from oracle.attestation.x509 import check_window, der_of
from oracle.errors import EncodingError
from oracle.types.attestation import MAX_ADVISORIES, Attestation, TcbStatus, TeeKind, merge_statuses, parse_advisory

_VERSIONS: Final = {TeeKind.SGX: (3,), TeeKind.TDX: (4, 5)}


def verify_dcap(content: bytes, quote: Quote, collateral: DcapCollateral, now_s: int, policy: Policy) -> Attestation:
    """
    What a genuine quote says.

    1. The quote is of a form that is verified: SGX version 3, TDX 4 or 5, ECDSA P-256, Intel's quoting enclave, with
       the PCK's chain in it or, if trimmed, in the collateral. A trimmed quote is canonical.
    2. Debug modes, reserved TD attributes, SEPT_VE_DISABLE off and service domains are refused.
    3. Every chain is whole, valid and not revoked, and ends in one root that the policy trusts.
    4. TCB info and QE identity are valid now.
    5. dcap-qvl verifies all signatures, from the root to the report, and its own rules.
    6. What dcap-qvl read is what we read, and the quoting enclave vouches for the attestation key and nothing else.
    7. Platform, TDX module and quoting enclave reach a level; status and advisories are the worse of our answer and
       dcap-qvl's. Revoked is refused.
    8. The policy accepts the result.

    Left to the caller: whether measurement and report data are expected, and whether the evidence is fresh. Quotes
    carry no time.

    Args:
        content: the bytes that `quote` was parsed from.
        quote: their parts.
        collateral: as Intel publishes it for this platform.
        now_s: unix seconds.
        policy: what to accept.

    Raises:
        AttestationError: its children say which step refuses.
        InvalidInputError: collateral, or the certificates in the quote, cannot be read.
    """
    quote_bytes, pck_chain = _check_form(content, quote, collateral)  # 1
    if reasons := _mode_reasons(quote.report):  # 2
        raise PolicyError(tuple(reasons))
    chains = DcapChains.read(pck_chain, collateral)  # 3
    chains.check(now_s, policy.roots)
    tcb_info, qe_identity = parse_tcb_info(collateral.tcb_info), parse_qe_identity(collateral.qe_identity)  # 4
    check_window(tcb_info.issued_s, tcb_info.next_update_s, now_s, "TCB info")
    check_window(qe_identity.issued_s, qe_identity.next_update_s, now_s, "QE identity")
    claims = _qvl_claims(quote_bytes, collateral, chains.root, now_s)  # 5
    pck = parse_pck(chains.pck[0])
    _check_claims(claims, quote, pck)  # 6
    verdict = _verdict(claims, quote, pck, tcb_info, qe_identity)  # 7
    is_sgx = quote.kind is TeeKind.SGX
    report_data, report_data_tail = split_report_data(quote.report.report_data)
    attestation = Attestation(
        kind=quote.kind,
        measurement=sgx_measurement(quote.body) if is_sgx else tdx_measurement(quote.body),
        report_data=report_data,
        report_data_tail=report_data_tail,
        platform=dcap_platform(pck.ppid, pck.pce_id),
        valid_until_s=min(chains.valid_until_s(), tcb_info.next_update_s, qe_identity.next_update_s),
        status=verdict.status,
        advisories=verdict.advisories,
        out_of_date_since_s=verdict.out_of_date_since_s,
        evaluation_number=verdict.evaluation_number,
    )
    return policy.apply(attestation, now_s)  # 8


def _check_form(content: bytes, quote: Quote, collateral: DcapCollateral) -> tuple[bytes, bytes]:
    """Step 1: the whole quote and the PCK's chain, PEM."""
    if quote.header.version not in _VERSIONS[quote.kind]:
        raise NotGenuineError(f"{quote.kind} quotes of version {quote.header.version} are not verified")
    if quote.header.key_type != ECDSA_P256 or quote.header.qe_vendor_id != INTEL_QE_VENDOR_ID:
        raise NotGenuineError("the quote is not by Intel's quoting enclave with an ECDSA P-256 key")
    if quote.certification_type == PCK_CHAIN:
        return content, quote.certification_data
    if not quote.is_trimmed:
        raise NotGenuineError(f"certification data of type {quote.certification_type} is not verified, only PCK chains")
    if collateral.pck_chain is None:
        raise CollateralError("the quote is trimmed, and the collateral has no certificate chain of its PCK")
    if trim(quote) != content:
        raise EncodingError("the trimmed quote is not canonical: a signature has the upper s")
    return untrim(quote, collateral.pck_chain), collateral.pck_chain.encode()


def _mode_reasons(report: SgxReport | TdReport) -> list[str]:
    """Step 2: why what runs there is not protected."""
    if isinstance(report, SgxReport):
        return ["debug enclave"] if report.is_debug else []
    reasons = []
    if report.is_debug:
        reasons.append("debug TD")
    if report.has_reserved_attributes:
        reasons.append("reserved TD attributes are set")
    if not report.is_sept_ve_disabled:
        reasons.append("SEPT_VE_DISABLE is off")
    if report.mr_service_td.strip(b"\0"):
        reasons.append("MR_SERVICE_TD is not zero: another domain has a hold on this one")
    return reasons


def _qvl_claims(quote: bytes, collateral: DcapCollateral, root: x509.Certificate, now_s: int) -> dict[str, Any]:
    """Step 5. Raises `NotGenuineError`."""
    try:
        qvl_collateral = dcap_qvl.QuoteCollateralV3(
            collateral.pck_crl_chain,
            collateral.root_crl,
            collateral.pck_crl,
            collateral.tcb_info_chain,
            collateral.tcb_info,
            collateral.tcb_info_signature,
            collateral.qe_identity_chain,
            collateral.qe_identity,
            collateral.qe_identity_signature,
        )
        verifier = dcap_qvl.QuoteVerifier(der_of(root))
        found = verifier.verify_with_policy(quote, qvl_collateral, now_s, dcap_qvl.QuotePolicy.claims_only(now_s))
        claims: dict[str, Any] = json.loads(found.to_json())
    except (ValueError, RuntimeError, OverflowError) as error:
        raise NotGenuineError(f"dcap-qvl refuses: {error}"[:300]) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust; it has no name that could be imported
            raise
        raise NotGenuineError("dcap-qvl cannot cope with this quote or its collateral") from error
    return claims


def _check_claims(claims: dict[str, Any], quote: Quote, pck: PckIdentity) -> None:
    """Step 6: two readers, one content. Raises `NotGenuineError`."""
    if SgxReport(quote.qe_report).report_data[32:].strip(b"\0"):
        raise NotGenuineError("the quoting enclave vouches for something else than an attestation key")
    read = claims["platform"]["pck"]
    platform = tuple(bytes(read[name]) for name in ("ppid", "pce_id", "fmspc", "cpu_svn"))
    report = next(iter(claims["report"].values()))
    report = report.get("base", report)
    own = quote.report
    measured = ("mr_enclave", own.mr_enclave) if isinstance(own, SgxReport) else ("mr_td", own.mr_td)
    is_same = (
        (platform, read["pce_svn"]) == ((pck.ppid, pck.pce_id, pck.fmspc, pck.cpu_svn), pck.pce_svn)
        and claims["header"]["version"] == quote.header.version
        and report["report_data"] == own.report_data.hex()
        and report[measured[0]] == measured[1].hex()
    )
    if not is_same:
        raise NotGenuineError("dcap-qvl reads another quote or another platform from these bytes")


def _verdict(
    claims: dict[str, Any], quote: Quote, pck: PckIdentity, tcb_info: TcbInfo, qe_identity: QeIdentity
) -> Verdict:
    """Step 7. Raises `RevokedError`, and as `judge`."""
    own = judge(pck, quote.report, SgxReport(quote.qe_report), tcb_info, qe_identity)
    theirs = TcbStatus.parse(claims["tcb"]["status"])
    status = merge_statuses(own.status, theirs)
    advisories = own.advisories | frozenset(parse_advisory(name) for name in claims["tcb"]["advisory_ids"])
    if status is TcbStatus.REVOKED:
        raise RevokedError("the platform's TCB level is revoked")
    if len(advisories) > MAX_ADVISORIES:
        raise CollateralError(f"{len(advisories)} advisories hold for this platform, at most {MAX_ADVISORIES} can")
    since_s = own.out_of_date_since_s
    if status.is_out_of_date and not since_s:  # only dcap-qvl says so: grace would have to start before anything else
        since_s = claims["platform"]["tcb_date_tag"]
    return Verdict(status, advisories, since_s, own.evaluation_number)
