"""
What `DcapVerifier` must hold before it can verify a quote, and which calls bring what it lacks.

The contract caches certificates and documents until they expire. Calls are ordered by what they need: a current list of
what the root revoked, issuers, what these signed. Each is brought again when it nears its end, and at once when it says
something new: a later evaluation, other revocations. What the contract is bound to refuse, because it goes forward
only, is not brought. Nothing is verified here; the contract does that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.dcap.pck import PckIdentity, parse_pck
from oracle.attestation.dcap.quote import Quote
from oracle.attestation.dcap.tcb_info import parse_qe_identity, parse_tcb_info
from oracle.attestation.errors import CollateralError, NotGenuineError
from oracle.attestation.x509 import der_of, expiry_s, read_chain, read_crl, seconds
from oracle.crypto.hashing import keccak256
from oracle.types.attestation import TeeKind

DEFAULT_MARGIN_S: Final = 7 * 24 * 3600
TEE_NUMBERS: Final = {TeeKind.SGX: 0x00, TeeKind.TDX: 0x81}


@dataclass(frozen=True, slots=True)
class Document:
    """
    The dates of a certificate, list or signed document, and its number: the evaluation; for a revocation list, how many
    serials it has; for a certificate, nothing. All zero: there is none.
    """

    issued_s: int = 0
    valid_until_s: int = 0
    number: int = 0

    def is_current(self, now_s: int) -> bool:
        """Whether it has not expired."""
        return self.valid_until_s >= now_s

    def is_due(self, offered: Document, now_s: int, margin_s: int) -> bool:
        """Whether the chain, which holds `self`, should be brought `offered`."""
        if not self.issued_s < offered.issued_s <= now_s <= offered.valid_until_s:
            return False
        return self.valid_until_s < now_s + margin_s or self.number != offered.number

    def is_evaluation_due(self, offered: Document, now_s: int, margin_s: int) -> bool:
        """As `is_due`, for what may not go back to an earlier evaluation."""
        return self.number <= offered.number and self.is_due(offered, now_s, margin_s)


_NONE: Final = Document()


@dataclass(frozen=True, slots=True)
class Held:
    """What the contract has of one bundle."""

    issuers: Mapping[bytes, Document]  # the PCK's authority and the TCB signers that it has, by id
    pck: Document
    root_crl: Document
    pck_crl: Document
    tcb_info: Document
    qe_identity: Document

    @property
    def has_pck(self) -> bool:
        """Whether it knows the machine."""
        return self.pck != _NONE

    @property
    def documents(self) -> tuple[Document, ...]:
        """Everything that must be current for a quote to verify."""
        return self.pck, self.root_crl, self.pck_crl, self.tcb_info, self.qe_identity


@dataclass(frozen=True, slots=True)
class Step:
    """A call of `DcapVerifier`. Those of a lower rank come first."""

    rank: int
    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A machine's certificates and collateral as the contract takes them."""

    kind: TeeKind
    pck: x509.Certificate
    authority: x509.Certificate
    tcb_signer: x509.Certificate
    qe_signer: x509.Certificate
    collateral: DcapCollateral
    identity: PckIdentity
    root_crl: Document
    pck_crl: Document
    tcb_info: Document
    qe_identity: Document

    @classmethod
    def of(cls, quote: Quote, collateral: DcapCollateral) -> Self:
        """
        Of a quote's machine, whose collateral this is.

        Raises:
            CollateralError: there is no certificate of the machine.
            InvalidInputError: a part cannot be read.
        """
        if collateral.pck_chain is None:
            raise CollateralError("the collateral lacks the certificate of the machine's PCK")
        chain = read_chain(collateral.pck_chain.encode(), "the chain of the PCK")
        info, qe = parse_tcb_info(collateral.tcb_info), parse_qe_identity(collateral.qe_identity)
        return cls(
            quote.kind,
            chain[0],
            chain[1],
            read_chain(collateral.tcb_info_chain.encode(), "the chain of the TCB signer")[0],
            read_chain(collateral.qe_identity_chain.encode(), "the chain of the TCB signer")[0],
            collateral,
            parse_pck(chain[0]),
            _crl_document(collateral.root_crl, "the root's revocation list"),
            _crl_document(collateral.pck_crl, "the authority's revocation list"),
            Document(info.issued_s, info.next_update_s, info.evaluation_number),
            Document(qe.issued_s, qe.next_update_s, qe.evaluation_number),
        )

    @property
    def authority_id(self) -> bytes:
        """What the contract calls the PCK's authority."""
        return key_id(self.authority)

    @property
    def pck_id(self) -> bytes:
        """What the contract calls the PCK."""
        return key_id(self.pck)

    @property
    def issuers(self) -> dict[bytes, tuple[str, x509.Certificate]]:
        """Who signed all this below the root: by id, the call that brings them and their certificate."""
        signers = (self.qe_signer, self.tcb_signer)
        return {
            self.authority_id: ("addCertificateAuthority", self.authority),
            **{key_id(signer): ("addTcbSigner", signer) for signer in signers},
        }

    @property
    def signer_ids(self) -> tuple[bytes, bytes]:
        """What the contract calls the signers of TCB info and QE identity: mostly one and the same."""
        return key_id(self.tcb_signer), key_id(self.qe_signer)

    @property
    def tee_number(self) -> int:
        """What the contract calls the technology."""
        return TEE_NUMBERS[self.kind]


def steps(bundle: Bundle, held: Held, now_s: int, margin_s: int = DEFAULT_MARGIN_S) -> tuple[Step, ...]:
    """The calls that bring what is missing or due, by rank. None that the contract must refuse as things stand."""
    found = []
    if held.root_crl.is_due(bundle.root_crl, now_s, margin_s):
        found.append(Step(0, "refreshRootCrl", (bundle.collateral.root_crl,)))
    elif not held.root_crl.is_current(now_s):
        return ()  # nothing is taken without
    first, ranks = int(not held.root_crl.is_current(now_s)), {}
    for name, (function, certificate) in bundle.issuers.items():
        known = held.issuers.get(name, _NONE)
        if known.is_due(certificate_document(certificate), now_s, margin_s):
            found.append(Step(first, function, (der_of(certificate),)))
            ranks[name] = first + 1
        elif known.is_current(now_s):
            ranks[name] = first

    is_due = {
        "refreshPckCrl": held.pck_crl.is_due(bundle.pck_crl, now_s, margin_s),
        "refreshTcbInfo": held.tcb_info.is_evaluation_due(bundle.tcb_info, now_s, margin_s),
        "refreshQeIdentity": held.qe_identity.is_evaluation_due(bundle.qe_identity, now_s, margin_s),
        "addPck": held.pck.is_due(certificate_document(bundle.pck), now_s, margin_s),
    }
    for issuer, function, arguments in _signed_parts(bundle):
        if is_due[function] and issuer in ranks:
            found.append(Step(ranks[issuer], function, arguments))
    return tuple(sorted(found, key=lambda step: step.rank))


def ready(found: Sequence[Step]) -> tuple[Step, ...]:
    """Those that can be sent now: the rest needs them to be mined first."""
    return tuple(step for step in found if step.rank == found[0].rank)


def is_usable(held: Held, now_s: int) -> bool:
    """Whether the contract can verify the machine's quotes now, however old its collateral is getting."""
    return all(document.is_current(now_s) for document in held.documents)


def certificate_document(certificate: x509.Certificate) -> Document:
    """A certificate's dates."""
    return Document(seconds(certificate.not_valid_before_utc), seconds(certificate.not_valid_after_utc))


def key_id(certificate: x509.Certificate) -> bytes:
    """
    keccak256(x || y) of a certificate's key, 32 bytes.

    Raises:
        NotGenuineError: not a P-256 key.
    """
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise NotGenuineError("a certificate of Intel's has a P-256 key")
    return keccak256(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:])


def _signed_parts(bundle: Bundle) -> tuple[tuple[bytes, str, tuple[Any, ...]], ...]:
    """What the issuers signed: by whose id, with which call it is brought, and with what."""
    collateral, (tcb_signer, qe_signer) = bundle.collateral, bundle.signer_ids
    tcb_info = (collateral.tcb_info.encode(), collateral.tcb_info_signature, tcb_signer)
    qe_identity = (collateral.qe_identity.encode(), collateral.qe_identity_signature, qe_signer)
    return (
        (bundle.authority_id, "refreshPckCrl", (bundle.authority_id, collateral.pck_crl)),
        (tcb_signer, "refreshTcbInfo", tcb_info),
        (qe_signer, "refreshQeIdentity", qe_identity),
        (bundle.authority_id, "addPck", (der_of(bundle.pck), bundle.authority_id)),
    )


def _crl_document(content: bytes, what: str) -> Document:
    crl = read_crl(content, what)
    return Document(seconds(crl.last_update_utc), expiry_s(crl), len(crl))
