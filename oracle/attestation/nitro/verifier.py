"""Verifying Nitro documents, up to AWS's root. A document brings its own chain, so no collateral is needed."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from oracle.attestation.errors import CollateralError, NotGenuineError, UntrustedRootError
from oracle.attestation.measurements import nitro_measurement
from oracle.attestation.nitro.document import NitroDocument
from oracle.attestation.policy import Policy, split_report_data
from oracle.attestation.x509 import AWS_RULES, check_chain, check_key, fingerprint, read_certificate, seconds
from oracle.crypto.hashing import keccak256
from oracle.types.attestation import Attestation, TeeKind

MAX_CLOCK_SKEW_S: Final = 60  # how far ahead of ours AWS's clock may be
_NUMBER_BYTES: Final = 48


def verify_nitro(document: NitroDocument, now_s: int, policy: Policy) -> Attestation:
    """
    What a genuine document says.

    1. The document is not from the future, and not older than the policy allows.
    2. Its bundle starts with a root that the policy trusts.
    3. The chain from that root to the document's certificate is whole (P-384) and valid when the document was made:
       leaf certificates live for three hours.
    4. The certificate's key signed the document.
    5. Debug enclaves, whose PCR0 to 2 are zero, are refused.
    6. The policy accepts the result.

    Left to the caller: whether measurement and report data (`user_data`) are expected, and whether the evidence is
    fresher than the policy's age. AWS publishes no revocation lists and no levels: the status is always `UP_TO_DATE`.

    Raises:
        AttestationError: its children say which step refuses.
        InvalidInputError: a certificate cannot be read.
    """
    made_s = document.timestamp_ms // 1000
    age_s = now_s - made_s  # 1
    if not -MAX_CLOCK_SKEW_S <= age_s <= policy.maximum_nitro_age_s:
        raise CollateralError(f"the document is {age_s} s old, and may be {policy.maximum_nitro_age_s} s")
    leaf = read_certificate(document.certificate, "the document's certificate")
    bundle = [read_certificate(content, "a certificate of the bundle") for content in document.cabundle]
    if fingerprint(bundle[0]) not in policy.roots:  # 2
        raise UntrustedRootError(fingerprint(bundle[0]))
    chain = (leaf, *reversed(bundle))
    check_chain(chain, made_s, AWS_RULES, "the document's chain")  # 3
    _check_signature(document, leaf)  # 4
    report_data, report_data_tail = split_report_data(document.user_data or b"")
    attestation = Attestation(
        kind=TeeKind.NITRO,
        measurement=nitro_measurement(document.pcrs[0], document.pcrs[1], document.pcrs[2]),
        report_data=report_data,
        report_data_tail=report_data_tail,
        platform=keccak256(document.module_id.encode()),
        valid_until_s=min(seconds(certificate.not_valid_after_utc) for certificate in chain),
    )
    return policy.apply(attestation, now_s, ["debug enclave"] if document.is_debug else [])  # 5, 6


def _check_signature(document: NitroDocument, certificate: x509.Certificate) -> None:
    check_key(certificate, AWS_RULES, "the document's certificate")
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r, s = (int.from_bytes(document.signature[at : at + _NUMBER_BYTES]) for at in (0, _NUMBER_BYTES))
    try:
        key.verify(encode_dss_signature(r, s), document.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise NotGenuineError("the document is not signed by its certificate") from error
