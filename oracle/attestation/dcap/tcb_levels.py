"""
Which levels a platform, its TDX module and its quoting enclave reach, and what follows for all three together.

L1. A part reaches the first level of the list whose every version it has. If it reaches none, it is refused.
L2. A TDX module of version v > 0 is judged by the identity TDX_v, which must be there, and its component versions 0
    and 1 (module, version) no longer count for the platform; one of version 0 by the plain fields, without a level.
L3. Statuses merge by `merge_statuses`, advisories by union. The lower evaluation number counts.
L4. A part is out of date since the earliest later date of a better level, or since its own level's date.

Rules without crypto: what is passed in has been authenticated, or the result means nothing.
Source: Intel, "Get TCB Info" and "TDX module identity" of the PCS API v4; contracts/attestation follows the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oracle.attestation.dcap.pck import PckIdentity
from oracle.attestation.dcap.reports import SgxReport, TdReport
from oracle.attestation.dcap.tcb_info import IsvLevel, Level, PlatformLevel, QeIdentity, TcbInfo
from oracle.attestation.errors import CollateralError, NotGenuineError
from oracle.types.attestation import MAX_ADVISORIES, TcbStatus, merge_statuses


@dataclass(frozen=True, slots=True)
class Verdict:
    """What collateral says about one platform at one time."""

    status: TcbStatus
    advisories: frozenset[int]
    out_of_date_since_s: int  # 0: not out of date
    evaluation_number: int


def judge(
    pck: PckIdentity, report: SgxReport | TdReport, qe_report: SgxReport, tcb_info: TcbInfo, qe_identity: QeIdentity
) -> Verdict:
    """
    The verdict on a platform.

    Raises:
        CollateralError: the documents are of another technology or model, have no level that fits, or name more
            advisories than a word holds.
        NotGenuineError: quoting enclave or TDX module are not those that Intel describes.
    """
    if tcb_info.kind is not qe_identity.kind or (tcb_info.module is not None) != isinstance(report, TdReport):
        raise CollateralError(f"TCB info is for {tcb_info.kind}, QE identity for {qe_identity.kind}: not this quote's")
    if (tcb_info.fmspc, tcb_info.pce_id) != (pck.fmspc, pck.pce_id):
        raise CollateralError(
            f"TCB info is for FMSPC {tcb_info.fmspc.hex()} and PCE {tcb_info.pce_id.hex()}, "
            f"the machine has {pck.fmspc.hex()} and {pck.pce_id.hex()}"
        )
    parts = [match_platform(pck, report, tcb_info), match_qe(qe_report, qe_identity)]
    if isinstance(report, TdReport) and (module := match_module(report, tcb_info)):
        parts.append(module)
    if not all(level.is_clear for level, _ in parts):
        raise CollateralError("the platform's level names advisories that are not understood")
    status = TcbStatus.UP_TO_DATE
    for level, _ in parts:
        status = merge_statuses(status, level.status)
    advisories = frozenset[int]().union(*(level.advisories for level, _ in parts))
    if len(advisories) > MAX_ADVISORIES:
        raise CollateralError(f"{len(advisories)} advisories hold for this platform, at most {MAX_ADVISORIES} can")
    since_s = min((since_s for level, since_s in parts if level.status.is_out_of_date), default=0)
    return Verdict(status, advisories, since_s, min(tcb_info.evaluation_number, qe_identity.evaluation_number))


def match_platform(pck: PckIdentity, report: SgxReport | TdReport, tcb_info: TcbInfo) -> tuple[Level, int]:
    """The platform's level, and since when it is out of date. Raises `CollateralError`: it has none."""
    for at, candidate in enumerate(tcb_info.levels):
        if _reaches(pck, report, candidate):
            return candidate.level, _since_s([level.level for level in tcb_info.levels[: at + 1]])
    raise CollateralError("no TCB level fits this platform")


def match_module(report: TdReport, tcb_info: TcbInfo) -> tuple[Level, int] | None:
    """
    The TDX module's level if it has an identity of its own.

    Raises:
        CollateralError: there is no identity for it, or no level.
        NotGenuineError: another signer or other attributes than Intel says.
    """
    version, isv_svn = report.tee_tcb_svn[1], report.tee_tcb_svn[0]
    name = f"TDX_{version:02X}"
    module = tcb_info.modules.get(name) if version else tcb_info.module
    if module is None:
        raise CollateralError(f"TCB info has no TDX module identity {name}")
    if report.mr_signer_seam != module.mr_signer:
        raise NotGenuineError("the TDX module is signed by another key than Intel says")
    expected = _and(module.attributes, module.attributes_mask)
    if report.seam_attributes != expected:  # bits outside the mask have to be zero, as in dcap-qvl
        raise NotGenuineError(f"the TDX module has attributes {report.seam_attributes.hex()}, not {expected.hex()}")
    return _match_isv(isv_svn, module.levels, f"TDX module {name}") if version else None


def match_qe(qe_report: SgxReport, identity: QeIdentity) -> tuple[Level, int]:
    """
    The quoting enclave's level.

    Raises:
        CollateralError: it has none.
        NotGenuineError: it is not Intel's, or not in the mode that Intel says.
    """
    if (qe_report.mr_signer, qe_report.isv_prod_id) != (identity.mr_signer, identity.isv_prod_id):
        raise NotGenuineError("the quoting enclave is not Intel's")
    if qe_report.is_debug:
        raise NotGenuineError("the quoting enclave is in debug mode")
    if _and(qe_report.misc_select, identity.misc_select_mask) != _and(identity.misc_select, identity.misc_select_mask):
        raise NotGenuineError("the quoting enclave has another MISCSELECT than Intel says")
    if _and(qe_report.attributes, identity.attributes_mask) != _and(identity.attributes, identity.attributes_mask):
        raise NotGenuineError("the quoting enclave has other attributes than Intel says")
    return _match_isv(qe_report.isv_svn, identity.levels, "quoting enclave")


def _reaches(pck: PckIdentity, report: SgxReport | TdReport, candidate: PlatformLevel) -> bool:
    is_reached = pck.pce_svn >= candidate.pce_svn and _at_least(pck.cpu_svn, candidate.sgx_svns)
    if not is_reached or isinstance(report, SgxReport):
        return is_reached
    first = 2 if report.tee_tcb_svn[1] else 0
    return _at_least(report.tee_tcb_svn[first:], candidate.tdx_svns[first:])


def _match_isv(isv_svn: int, levels: Sequence[IsvLevel], what: str) -> tuple[Level, int]:
    for at, candidate in enumerate(levels):
        if isv_svn >= candidate.isv_svn:
            return candidate.level, _since_s([level.level for level in levels[: at + 1]])
    raise CollateralError(f"no TCB level fits this {what} of version {isv_svn}")


def _since_s(levels: Sequence[Level]) -> int:
    """Since when the last of `levels` is out of date, the others being better; 0 if it is not."""
    *better, own = levels
    if not own.status.is_out_of_date:
        return 0
    return min((level.date_s for level in better if level.date_s > own.date_s), default=own.date_s)


def _at_least(versions: bytes, least: bytes) -> bool:
    return all(version >= minimum for version, minimum in zip(versions, least, strict=True))


def _and(content: bytes, mask: bytes) -> bytes:
    return bytes(byte & bits for byte, bits in zip(content, mask, strict=True))
