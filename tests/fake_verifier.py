"""
`DcapVerifier` in memory: what it holds, and what it refuses for dates, issuers and revocations. It checks no signature.

    FakeVerifier    oracle.jobs.collateral.Verifier: the contract in tests/integration/attestation
    FakeSource      oracle.attestation.sources.CollateralSource
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography import x509
from eth_abi.abi import decode

from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.dcap.onchain import TEE_NUMBERS, Bundle, Document, Held, certificate_document, key_id
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.tcb_info import parse_qe_identity, parse_tcb_info
from oracle.attestation.development.collateral import UP_TO_DATE
from oracle.attestation.development.dcap import DevelopmentPki
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.x509 import expiry_s, read_crl, seconds
from oracle.chain.contracts import abi
from oracle.chain.errors import RevertedError
from oracle.types.ids import Address

_ABI = abi("DcapVerifier")
_FUNCTIONS = {selector: (name, inputs) for name, (selector, inputs, _) in _ABI.functions.items()}
_NONE = Document()
_ADDRESS = Address(b"\x0d" * 20)


@dataclass
class FakeVerifier:
    """`call` is a transaction; time is what `now_s` says."""

    now_s: int = 0
    address: Address = _ADDRESS
    taken: list[str] = field(default_factory=list)
    _documents: dict[tuple[object, ...], Document] = field(default_factory=dict)
    _revoked_by_root: frozenset[int] = frozenset()
    _serials: dict[bytes, int] = field(default_factory=dict)

    def held(self, bundle: Bundle) -> Held:
        identity, tee = bundle.identity, bundle.tee_number
        issuers = {name: self._at("tcbSigner", name) for name in bundle.signer_ids}
        issuers[bundle.authority_id] = self._at("authority", bundle.authority_id)
        return Held(
            {name: document for name, document in issuers.items() if document != _NONE},
            self._at("pck", bundle.pck_id),
            self._at("rootCrl"),
            self._at("pckCrl", bundle.authority_id),
            self._at("tcbInfo", identity.fmspc, identity.pce_id, tee),
            self._at("qeIdentity", tee),
        )

    def call(self, data: bytes) -> None:
        """
        A transaction.

        Raises:
            RevertedError: refused, by the name of the contract's error.
        """
        name, inputs = _FUNCTIONS[data[:4]]
        method = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
        getattr(self, f"_{method}")(*decode(inputs, data[4:]))
        self.taken.append(name)

    def refusal(self, data: bytes) -> RevertedError | None:
        """Why it would refuse this transaction now; calls of other contracts it does not judge."""
        if data[:4] in _FUNCTIONS:
            try:
                copy.deepcopy(self).call(data)
            except RevertedError as error:
                return error
        return None

    def _at(self, *slot: object) -> Document:
        return self._documents.get(slot, _NONE)

    def _add_certificate_authority(self, der: bytes) -> None:
        self._add_issuer("authority", der)

    def _add_tcb_signer(self, der: bytes) -> None:
        self._add_issuer("tcbSigner", der)

    def _add_issuer(self, kind: str, der: bytes) -> None:
        certificate = x509.load_der_x509_certificate(der)
        name, dates = key_id(certificate), certificate_document(certificate)
        self._refuse_out_of_time(dates, "CertificateNotYetValid", "CertificateExpired")
        self._refuse_revoked(certificate.serial_number)
        self._replace((kind, name), dates)
        self._serials[name] = certificate.serial_number

    def _add_pck(self, der: bytes, authority_id: bytes) -> None:
        until_s = self._issuer("authority", authority_id).valid_until_s
        certificate = x509.load_der_x509_certificate(der)
        dates = certificate_document(certificate)
        self._refuse_out_of_time(dates, "CertificateNotYetValid", "CertificateExpired")
        dates = replace(dates, valid_until_s=min(dates.valid_until_s, until_s))
        self._replace(("pck", key_id(certificate)), dates)

    def _refresh_root_crl(self, der: bytes) -> None:
        crl = self._replace_crl(("rootCrl",), der)
        self._revoked_by_root = frozenset(item.serial_number for item in crl)

    def _refresh_pck_crl(self, authority_id: bytes, der: bytes) -> None:
        self._issuer("authority", authority_id)
        self._replace_crl(("pckCrl", authority_id), der)

    def _replace_crl(self, slot: tuple[object, ...], der: bytes) -> x509.CertificateRevocationList:
        crl = read_crl(der, "a list")
        dates = Document(seconds(crl.last_update_utc), expiry_s(crl), len(crl))
        self._refuse_out_of_time(dates, "CrlNotYetValid", "CrlExpired")
        self._replace(slot, dates)
        return crl

    def _refresh_tcb_info(self, json: bytes, _signature: bytes, signer_id: bytes) -> None:
        info = parse_tcb_info(json.decode())
        slot = ("tcbInfo", info.fmspc, info.pce_id, TEE_NUMBERS[info.kind])
        self._replace_evaluated(slot, info, signer_id)

    def _refresh_qe_identity(self, json: bytes, _signature: bytes, signer_id: bytes) -> None:
        identity = parse_qe_identity(json.decode())
        self._replace_evaluated(("qeIdentity", TEE_NUMBERS[identity.kind]), identity, signer_id)

    def _replace_evaluated(self, slot: tuple[object, ...], offered: Any, signer_id: bytes) -> None:
        until_s = self._issuer("tcbSigner", signer_id).valid_until_s
        document = Document(offered.issued_s, offered.next_update_s, offered.evaluation_number)
        self._refuse_out_of_time(document, "DocumentNotYetValid", "DocumentExpired")
        _refuse_unless(document.issued_s > self._at(*slot).issued_s, "NotNewer")
        _refuse_unless(document.number >= self._at(*slot).number, "EvaluationNumberLower")
        self._replace(slot, replace(document, valid_until_s=min(until_s, document.valid_until_s)))

    def _refuse_out_of_time(self, document: Document, early: str, late: str) -> None:
        _refuse_unless(document.issued_s <= self.now_s, early)
        _refuse_unless(self.now_s <= document.valid_until_s, late)

    def _replace(self, slot: tuple[object, ...], document: Document) -> None:
        _refuse_unless(document.issued_s > self._at(*slot).issued_s, "NotNewer")
        self._documents[slot] = document

    def _issuer(self, kind: str, name: bytes) -> Document:
        known = self._at(kind, name)
        _refuse_unless(known != _NONE, "CertificateAuthorityUnknown" if kind == "authority" else "TcbSignerUnknown")
        _refuse_unless(known.is_current(self.now_s), "IssuerExpired")
        self._refuse_revoked(self._serials[name])
        return known

    def _refuse_revoked(self, serial: int) -> None:
        _refuse_unless(self._at("rootCrl").is_current(self.now_s), "CollateralNotCurrent")
        _refuse_unless(serial not in self._revoked_by_root, "SerialRevoked")


def _refuse_unless(condition: object, error: str) -> None:
    if not condition:
        raise RevertedError(error)


def collateral_of(
    pki: DevelopmentPki,
    now_s: int,
    *,
    status: str = UP_TO_DATE,
    evaluation_number: int = 18,
    revoked_by_root: Iterable[int] = (),
) -> DcapCollateral:
    """What a source would give for an SGX machine of `pki`."""
    made = pki.collateral(
        "SGX", now_s, status=status, evaluation_number=evaluation_number, revoked_by_root=revoked_by_root
    )
    return replace(DcapCollateral.parse(made.json().encode()), pck_chain=pki.pck_chain.decode())


def bundle_of(pki: DevelopmentPki, collateral: DcapCollateral) -> Bundle:
    """As the contract takes it."""
    return Bundle.of(parse_quote(pki.quote(QuoteKind.SGX_V3, bytes(32))), collateral)


@dataclass
class FakeSource:
    """`oracle.attestation.sources.CollateralSource`: fresh collateral of a machine, or whatever a test sets."""

    pki: DevelopmentPki
    status: str = UP_TO_DATE
    evaluation_number: int = 18
    issued_s: int | None = None  # None: an hour ago
    revoked_by_root: tuple[int, ...] = ()
    error: Exception | None = None
    asked: int = 0

    def collateral(self, _quote: object, now_s: int) -> DcapCollateral:
        self.asked += 1
        if self.error is not None:
            raise self.error
        issued_s = now_s - 3_600 if self.issued_s is None else self.issued_s
        return collateral_of(
            self.pki,
            issued_s,
            status=self.status,
            evaluation_number=self.evaluation_number,
            revoked_by_root=self.revoked_by_root,
        )
