"""
One entrance for all evidence: what is it, and does it convince?

    verify(evidence, collateral, now_s, policy) -> Attestation

Bytes that are no evidence raise `InvalidInputError`; evidence that does not convince raises a child of
`AttestationError` (`oracle.attestation.errors`). The steps are numbered where they are done: `verify_dcap`,
`verify_snp`, `verify_nitro`. docs/ATTESTATION.md says what all of this does not promise.
"""

from __future__ import annotations

from typing import Final

from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.dcap.quote import Quote, parse_quote
from oracle.attestation.dcap.verifier import verify_dcap
from oracle.attestation.errors import CollateralError
from oracle.attestation.nitro.document import NitroDocument, parse_document
from oracle.attestation.nitro.verifier import verify_nitro
from oracle.attestation.policy import Policy
from oracle.attestation.snp.report import REPORT_BYTES, SnpReport, parse_report
from oracle.attestation.snp.verifier import AmdCollateral, verify_snp
from oracle.errors import EncodingError
from oracle.types.attestation import Attestation

Evidence = Quote | SnpReport | NitroDocument
Collateral = DcapCollateral | AmdCollateral
_MAX_TIME_S: Final = 1 << 36
_QUOTE_VERSIONS: Final = (3, 4, 5)


def parse(evidence: bytes) -> Evidence:
    """
    The evidence, told apart by its first bytes and its size.

    Raises:
        InvalidInputError: neither a DCAP quote nor an SEV-SNP report nor a Nitro document.
    """
    if evidence[:2] in (b"\x84\x44", b"\xd2\x84"):  # an array of four that begins with four bytes; the same, tagged
        return parse_document(evidence)
    if len(evidence) == REPORT_BYTES:
        return parse_report(evidence)
    if int.from_bytes(evidence[:2], "little") in _QUOTE_VERSIONS:
        return parse_quote(evidence)
    raise EncodingError("this is neither an SGX or TDX quote nor an SEV-SNP report nor a Nitro document")


def verify(evidence: bytes, collateral: Collateral | None, now_s: int, policy: Policy) -> Attestation:
    """
    What genuine evidence says, if the policy accepts it.

    The caller must still compare `measurement` and `report_data` with what it expects, and see to freshness: SGX, TDX
    and SEV-SNP evidence carries no time, so put something recent into the report data.

    Args:
        evidence: quote (whole or trimmed), report or document.
        collateral: `DcapCollateral` for SGX and TDX, `AmdCollateral` for SEV-SNP; ignored for Nitro.
        now_s: unix seconds.
        policy: what to accept.

    Raises:
        InvalidInputError: evidence or collateral cannot be read.
        AttestationError: it does not convince; its children say why.
    """
    if not 0 <= now_s < _MAX_TIME_S:
        raise EncodingError(f"{now_s} is not a time in unix seconds")
    found = parse(evidence)
    if isinstance(found, NitroDocument):
        return verify_nitro(found, now_s, policy)
    if isinstance(found, SnpReport):
        if not isinstance(collateral, AmdCollateral):
            raise CollateralError("SEV-SNP reports need AMD's certificates: VCEK or VLEK, ASK or ASVK, ARK")
        return verify_snp(found, collateral, now_s, policy)
    if not isinstance(collateral, DcapCollateral):
        raise CollateralError("SGX and TDX quotes need Intel's collateral")
    return verify_dcap(evidence, found, collateral, now_s, policy)
