"""
Believe a receipt on the evidence of its document alone: no network, no clock but the one given, no state.

What it takes is a `Trust`: which chain and contract, which builds, whose hardware. What it gives is a
`VerifiedReceipt`, or an error that names the first step that fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from oracle.attestation.policy import Policy
from oracle.attestation.verifier import verify
from oracle.attestation.x509 import fingerprint, read_certificate, read_chain
from oracle.client.document import ReceiptDocument, SignerEvidence
from oracle.client.errors import (
    EvidenceMissingError,
    NotInBatchError,
    OtherChainError,
    OtherCoprocessorError,
    OtherSignerError,
    OutputMismatchError,
    RequestMismatchError,
    SignatureRefusedError,
    SignerNotAttestedError,
    TranscriptMismatchError,
    UnknownMeasurementError,
)
from oracle.crypto.ecdsa import recover
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError
from oracle.types.attestation import Attestation, report_data
from oracle.types.ids import Address, MeasurementId
from oracle.types.pool import Pool
from oracle.types.receipt import Outcome, Receipt, batch_digest
from oracle.types.request import Request
from oracle.types.transcript import context_of

_PEM: Final = b"-----BEGIN"


@dataclass(frozen=True, slots=True)
class Trust:
    """What a verifier believes in before it reads anything."""

    chain_id: int
    coprocessor: Address
    measurements: frozenset[MeasurementId]  # of the builds whose source it, or somebody it trusts, has read
    policy: Policy = field(default_factory=Policy)  # the default: vendors' roots, UpToDate only


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """
    A receipt that convinced, and what it is about.

    Left to the caller: whether `request` is what was meant to be asked (`program_id`, `input`, `consumer`), and what to
    make of an outcome other than Completed, whose output is a reason in UTF-8.
    """

    request: Request
    input: bytes
    receipt: Receipt
    output: bytes
    signer: Address
    attestation: Attestation | None = None  # None if the chain alone was asked about the signer
    live_until_s: int | None = None  # unix seconds; None if the chain was not asked

    @property
    def outcome(self) -> Outcome:
        """How the job ended."""
        return self.receipt.outcome


def trusting_root(policy: Policy, certificate: bytes) -> Policy:
    """
    The same policy under the root `certificate`, PEM or DER, in place of the vendors'. Insecure: whoever has its key
    can forge evidence, so this is for development chains.

    Raises:
        EncodingError: not a certificate.
    """
    is_pem = certificate.lstrip().startswith(_PEM)
    root = read_chain(certificate, "the root")[-1] if is_pem else read_certificate(certificate, "the root")
    return replace(policy, roots=frozenset({fingerprint(root)}), is_insecure_development=True)


def check_signature(document: ReceiptDocument, chain_id: int, coprocessor: Address) -> Address:
    """
    The signer of a receipt, and that it signed exactly this: steps 1 to 4 of `verify_receipt`.

    The caller must still find out whether that key lives in an enclave.

    Raises:
        ReceiptRefusedError: its children say which step refuses.
    """
    request, receipt = document.request, document.receipt
    if request.chain_id != chain_id:  # 1
        raise OtherChainError(chain_id, request.chain_id)
    if request.coprocessor != coprocessor:
        raise OtherCoprocessorError(coprocessor, request.coprocessor)
    if request.request_id != receipt.request_id:  # 2
        raise RequestMismatchError(request.request_id, receipt.request_id)
    if keccak256(document.output) != receipt.output_hash:  # 3
        raise OutputMismatchError(receipt.output_hash, keccak256(document.output))
    if document.transcript is not None and context_of(document.transcript) != receipt.context:
        raise TranscriptMismatchError(receipt.context, context_of(document.transcript))
    if document.batch is not None and receipt not in document.batch:  # 4
        raise NotInBatchError
    batch = document.batch
    digest = receipt.digest(chain_id, coprocessor) if batch is None else batch_digest(batch, chain_id, coprocessor)
    try:
        signer = Address(recover(digest, document.signature))
    except EncodingError as error:
        raise SignatureRefusedError(str(error)) from error
    if signer != document.signer:
        raise OtherSignerError(document.signer, signer)
    return signer


def check_attestation(
    evidence: SignerEvidence | None,
    signer: Address,
    request: Request,
    measurements: Iterable[MeasurementId],
    policy: Policy,
    at_s: int,
) -> Attestation:
    """
    That `signer` lives in a trusted build on genuine hardware: steps 5 to 7 of `verify_receipt`.

    Raises:
        InvalidInputError: quote or collateral cannot be read.
        AttestationError: its children say which step refuses.
    """
    if evidence is None:
        raise EvidenceMissingError
    attestation = verify(evidence.quote, evidence.collateral, at_s, policy)  # 5
    registry = Pool.from_id(request.pool_id).verifier  # 6
    keys = (signer, evidence.sealing_key, evidence.operator)
    expected = report_data(request.chain_id, registry, *keys, evidence.anchor_hash)
    if attestation.report_data != expected:
        raise SignerNotAttestedError(expected, attestation.report_data)
    trusted = frozenset(measurements)
    if attestation.measurement not in trusted:  # 7
        raise UnknownMeasurementError(frozenset(map(bytes, trusted)), attestation.measurement)
    return attestation


def verify_receipt(document: ReceiptDocument, trust: Trust, at_s: int) -> VerifiedReceipt:
    """
    What a receipt document proves, if it does.

    1. It is of the trusted chain and contract, which the signature is bound to (EIP-712).
    2. The request id is the hash of all fields of the request, with program and input: a receipt for it is for nothing
       else.
    3. The output is the one that was signed; so is the transcript of what was fetched, if the document has one.
    4. The signature, over this receipt or over a batch that it is in, is canonical and by the signer named.
    5. The quote is genuine under the policy's roots, its collateral valid at `at_s`, its platform acceptable.
    6. The quote names that signer, for that chain and for the registry that the request's pool id names.
    7. The build that the quote measured is a trusted one.

    Not seen here: what happened after the quote. Whether the chain revoked signer, build or platform since, whether the
    receipt was delivered, and whether the block under the quote is of the chain, only the chain can say
    (`Adyton.verify` asks it about the signer). Collateral is valid for about a month: to judge an old receipt, give the
    time as of which you trust it.

    Args:
        document: from anybody.
        trust: chain, contract, builds, policy.
        at_s: unix seconds, as of which evidence is judged.

    Raises:
        InvalidInputError: quote or collateral cannot be read.
        AttestationError: its children say which step refuses: `oracle.client.errors` for 1 to 4, 6 and 7,
            `oracle.attestation.errors` for 5.
    """
    signer = check_signature(document, trust.chain_id, trust.coprocessor)
    request = document.request
    attestation = check_attestation(document.evidence, signer, request, trust.measurements, trust.policy, at_s)
    return VerifiedReceipt(request, document.input, document.receipt, document.output, signer, attestation)
