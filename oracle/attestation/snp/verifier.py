"""Verifying SEV-SNP reports with the certificates of the chip's key, up to AMD's root of the product."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from oracle.attestation.errors import CollateralError, NotGenuineError, UntrustedRootError
from oracle.attestation.measurements import snp_measurement
from oracle.attestation.policy import Policy, split_report_data
from oracle.attestation.snp.certificate import SnpKey, is_signing_key, parse_key
from oracle.attestation.snp.report import CHIP_ID_BYTES, ECDSA_P384_SHA384, VLEK, SnpReport, SnpTcb
from oracle.attestation.x509 import (
    AMD_RULES,
    check_chain,
    check_crl,
    check_not_revoked,
    expiry_s,
    fingerprint,
    seconds,
    shown,
)
from oracle.crypto.hashing import keccak256
from oracle.types.attestation import Attestation, TeeKind

MAX_CERTIFICATES: Final = 32
MAX_CRLS: Final = 16
_CHAIN_LENGTH: Final = 3


@dataclass(frozen=True, slots=True)
class AmdCollateral:
    """
    Certificates in any order: VCEK or VLEK, ASK or ASVK, ARK; more than one report needs do no harm. Revocation lists
    as AMD publishes them.
    """

    certificates: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...] = ()

    def __post_init__(self) -> None:
        """Bound the work."""
        if len(self.certificates) > MAX_CERTIFICATES or len(self.crls) > MAX_CRLS:
            raise CollateralError(f"more than {MAX_CERTIFICATES} certificates or {MAX_CRLS} revocation lists")


def verify_snp(report: SnpReport, collateral: AmdCollateral, now_s: int, policy: Policy) -> Attestation:
    """
    What a genuine report says.

    1. The report says that a VCEK or VLEK signed it, with ECDSA P-384, and that signing is not switched off.
    2. A chain of that key, ASK or ASVK, and ARK is whole (RSA-PSS with SHA-384), valid now, and ends in a root that the
       policy trusts.
    3. Revocation lists that are given for ARK or ASK are signed by them and valid; none names a certificate of the
       chain. The ARK's is required if the policy says so.
    4. The key signed the report.
    5. Key and report are of one product, one chip (VCEK) and one firmware: hardware id and reported TCB are equal.
    6. Debug, migration, a VMPL over the policy's, a masked chip id, and firmware below the policy's minimum: refused.
    7. The policy accepts the result.

    Left to the caller: whether measurement and report data are expected, and whether the evidence is fresh. Reports
    carry no time, and AMD publishes no levels: the status says `UP_TO_DATE` whatever the firmware, so set a minimum.

    Raises:
        AttestationError: its children say which step refuses.
        InvalidInputError: a certificate cannot be read.
    """
    if report.signature_algorithm != ECDSA_P384_SHA384 or report.is_chip_key_masked or report.signing_key > VLEK:  # 1
        raise NotGenuineError("the report is not signed by a VCEK or VLEK with ECDSA P-384")
    chain, key = _chain(report, collateral.certificates)  # 2
    if fingerprint(chain[-1]) not in policy.roots:
        raise UntrustedRootError(fingerprint(chain[-1]))
    check_chain(chain, now_s, AMD_RULES, f"the {key.product} chain")
    crl_expiries_s = _check_revocation(chain, collateral.crls, now_s, is_required=policy.is_amd_crl_required)  # 3
    _check_signature(report, chain[0])  # 4
    _check_key(report, key)  # 5
    expiries_s = (seconds(certificate.not_valid_after_utc) for certificate in chain)
    report_data, report_data_tail = split_report_data(report.report_data)
    attestation = Attestation(
        kind=TeeKind.SEV_SNP,
        measurement=snp_measurement(report.content),
        report_data=report_data,
        report_data_tail=report_data_tail,
        platform=keccak256(report.chip_id),
        valid_until_s=min(*expiries_s, *crl_expiries_s),
    )
    return policy.apply(attestation, now_s, _mode_reasons(report, key, policy))  # 6, 7


def _chain(report: SnpReport, certificates: Iterable[x509.Certificate]) -> tuple[tuple[x509.Certificate, ...], SnpKey]:
    """The key that the report names, and the authorities above it by name. Raises `CollateralError`."""
    pool = tuple(dict.fromkeys(certificates))
    keys = [(leaf, parse_key(leaf)) for leaf in pool if is_signing_key(leaf)]
    fitting = [
        (leaf, key)
        for leaf, key in keys
        if key.signing_key == report.signing_key and (key.hardware_id is None or _names_chip(key, report))
    ]
    if not fitting:
        wanted = "VLEK" if report.signing_key == VLEK else f"VCEK of chip {report.chip_id.hex()[:16]}…"
        raise CollateralError(f"there is no {wanted} among the {len(pool)} certificates")
    same_firmware = [pair for pair in fitting if SnpTcb.parse(report.reported_tcb, pair[1].product) == pair[1].tcb]
    leaf, key = (same_firmware or fitting)[0]
    chain = [leaf]
    while len(chain) < _CHAIN_LENGTH:
        issuer = next((issuer for issuer in pool if issuer.subject == chain[-1].issuer), None)
        if issuer is None:
            raise CollateralError(f"{shown(chain[-1].issuer)} is not among the certificates")
        chain.append(issuer)
    return tuple(chain), key


def _check_revocation(
    chain: Sequence[x509.Certificate],
    crls: Iterable[x509.CertificateRevocationList],
    now_s: int,
    *,
    is_required: bool,
) -> list[int]:
    """Step 3: the expiries of the lists that were used."""
    expiries_s = []
    has_root_list = False
    for crl in crls:
        issuer = next((issuer for issuer in chain[1:] if issuer.subject == crl.issuer), None)
        if issuer is None:
            continue  # of another product
        check_crl(crl, issuer, now_s, "AMD's revocation list")
        for certificate in chain[:-1]:
            check_not_revoked(certificate, crl, "the report's key or its authority")
        has_root_list |= issuer is chain[-1]
        expiries_s.append(expiry_s(crl))
    if is_required and not has_root_list:
        raise CollateralError("there is no revocation list of the ARK, and the policy wants one")
    return expiries_s


def _check_signature(report: SnpReport, certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise NotGenuineError("the VCEK or VLEK is not a P-384 key")
    try:
        key.verify(encode_dss_signature(*report.signature), report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise NotGenuineError("the report is not signed by its VCEK or VLEK") from error


def _check_key(report: SnpReport, key: SnpKey) -> None:
    """Step 5."""
    if report.version > 2 and report.product != key.product:
        raise NotGenuineError(f"the key is of a {key.product}, the report of a {report.product or 'unknown product'}")
    if key.hardware_id is not None and not _names_chip(key, report):
        raise NotGenuineError("the VCEK is of another chip than the report")
    reported = SnpTcb.parse(report.reported_tcb, key.product)
    if reported != key.tcb:
        raise NotGenuineError(f"the key stands for {key.tcb}, the report says {reported}")


def _mode_reasons(report: SnpReport, key: SnpKey, policy: Policy) -> list[str]:
    """Step 6."""
    reasons = []
    if report.is_debug:
        reasons.append("debug guest")
    if report.is_migratable:
        reasons.append("the guest may be migrated")
    if report.vmpl > policy.maximum_vmpl:
        reasons.append(f"VMPL {report.vmpl}, over {policy.maximum_vmpl}")
    if not report.chip_id.strip(b"\0"):
        reasons.append("the chip id is masked, so no platform is named")
    least = policy.minimum_snp_tcb.get(key.product)
    if least is not None and not key.tcb.reaches(least):
        reasons.append(f"firmware {key.tcb} is below {least}")
    return reasons


def _names_chip(key: SnpKey, report: SnpReport) -> bool:
    return key.hardware_id is not None and key.hardware_id.ljust(CHIP_ID_BYTES, b"\0") == report.chip_id
