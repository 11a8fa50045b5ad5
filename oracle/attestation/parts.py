"""
Collateral from loose files: certificates, revocation lists and signed documents in any order, told apart by content.

Understood are the JSON of Phala and dcap-qvl, TCB info and QE identity as Intel's service answers them, certificates
and revocation lists in DER, PEM, hexadecimal or base64. What belongs together is found by names and keys; nothing is
verified here, so wrong parts only make verification fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from oracle.attestation import strict_json
from oracle.attestation.dcap.collateral import (
    MAX_COLLATERAL_BYTES,
    DcapCollateral,
    SignedDocument,
    crl_bytes,
    text_of,
)
from oracle.attestation.dcap.pck import parse_pck
from oracle.attestation.dcap.quote import PCK_CHAIN, Quote
from oracle.attestation.dcap.tcb_info import QeIdentity, TcbInfo, parse_qe_identity, parse_tcb_info
from oracle.attestation.errors import CollateralError
from oracle.attestation.reader import require_size
from oracle.attestation.snp.certificate import is_signing_key
from oracle.attestation.snp.verifier import AmdCollateral
from oracle.attestation.x509 import der_of, pem_of, read_certificate, read_chain, read_crl, seconds, shown
from oracle.errors import EncodingError, InvalidInputError

MAX_PARTS: Final = 256
_PEM_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_PEM_CRL: Final = b"-----BEGIN X509 CRL-----"
_Found = TypeVar("_Found")


@dataclass(slots=True)
class CollateralParts:
    """What was found. `add` file after file, then ask for the collateral of one piece of evidence."""

    certificates: dict[bytes, x509.Certificate] = field(default_factory=dict)
    crls: dict[bytes, x509.CertificateRevocationList] = field(default_factory=dict)
    tcb_infos: list[tuple[SignedDocument, TcbInfo]] = field(default_factory=list)
    qe_identities: list[tuple[SignedDocument, QeIdentity]] = field(default_factory=list)

    def add(self, content: bytes) -> None:
        """
        Take what is in one file.

        Raises:
            EncodingError: nothing that is collateral.
            LimitExceededError: over 4 MiB, or over 256 parts in all.
        """
        require_size(content, MAX_COLLATERAL_BYTES, "a file of collateral")
        stripped = content.strip()
        if stripped.startswith(b"{"):
            self._add_json(stripped)
        elif stripped.startswith(_PEM_CERTIFICATE):
            self._add_certificates(read_chain(stripped, "the PEM file"))
        elif stripped.startswith(_PEM_CRL):
            self._add_crl(crl_bytes(text_of(stripped, "the PEM file"), "the PEM file"))
        elif content[:1] == b"\x30":
            self._add_der(content)
        else:
            self._add_der(crl_bytes(text_of(stripped, "the file"), "the file"))
        count = len(self.certificates) + len(self.crls) + len(self.tcb_infos) + len(self.qe_identities)
        require_size(bytes(count), MAX_PARTS, "the number of parts")

    def for_quote(self, quote: Quote, now_s: int) -> DcapCollateral:
        """
        The collateral of this quote: of several documents or lists that fit, the newest not issued after `now_s`.

        Raises:
            CollateralError: a part is missing.
            InvalidInputError: the quote's certificates cannot be read.
        """
        if quote.certification_type == PCK_CHAIN:
            chain = read_chain(quote.certification_data, "the quote's certificate chain")
            self._add_certificates(chain)
            pck = chain[0]
        else:
            pck = self._pck_of(quote)
        pck_chain = self._chain(pck)
        identity = parse_pck(pck)
        tcb_info = _newest(
            [
                (document, info.issued_s)
                for document, info in self.tcb_infos
                if (info.kind, info.fmspc) == (quote.kind, identity.fmspc)
            ],
            now_s,
            f"TCB info for {quote.kind} and FMSPC {identity.fmspc.hex()}",
        )
        qe_identity = _newest(
            [(document, found.issued_s) for document, found in self.qe_identities if found.kind is quote.kind],
            now_s,
            f"QE identity for {quote.kind}",
        )
        return DcapCollateral(
            pem_of(pck_chain[1:]),
            self._crl(pck_chain[-1], now_s),
            self._crl(pck_chain[1], now_s),
            pem_of(self._signer_chain(tcb_info)),
            tcb_info.text,
            tcb_info.signature,
            pem_of(self._signer_chain(qe_identity)),
            qe_identity.text,
            qe_identity.signature,
            pem_of(pck_chain),
        )

    def for_snp(self) -> AmdCollateral:
        """All certificates and revocation lists that can be AMD's. Raises `CollateralError`: too many of them."""
        certificates = tuple(item for item in self.certificates.values() if _can_be_amds(item))
        names = {certificate.subject for certificate in certificates}
        return AmdCollateral(certificates, tuple(crl for crl in self.crls.values() if crl.issuer in names))

    def _add_json(self, content: bytes) -> None:
        members = strict_json.parse(text_of(content, "the JSON file"), "the JSON file")
        if "tcbInfo" in members:
            document = SignedDocument.parse(content, "tcbInfo")
            self.tcb_infos.append((document, parse_tcb_info(document.text)))
        elif "enclaveIdentity" in members:
            document = SignedDocument.parse(content, "enclaveIdentity")
            self.qe_identities.append((document, parse_qe_identity(document.text)))
        else:
            self._add_whole(DcapCollateral.parse(content))

    def _add_whole(self, whole: DcapCollateral) -> None:
        for chain in (whole.pck_crl_chain, whole.tcb_info_chain, whole.qe_identity_chain, whole.pck_chain):
            if chain is not None:
                self._add_certificates(read_chain(chain.encode(), "a chain of the collateral"))
        for crl in (whole.root_crl, whole.pck_crl):
            self._add_crl(crl)
        tcb_info = SignedDocument(whole.tcb_info, whole.tcb_info_signature)
        qe_identity = SignedDocument(whole.qe_identity, whole.qe_identity_signature)
        self.tcb_infos.append((tcb_info, parse_tcb_info(tcb_info.text)))
        self.qe_identities.append((qe_identity, parse_qe_identity(qe_identity.text)))

    def _add_der(self, content: bytes) -> None:
        readers: tuple[Callable[[bytes], None], ...] = (self._add_der_certificate, self._add_crl)
        for read in readers:
            try:
                read(content)
            except EncodingError:
                continue
            return
        raise EncodingError("this is neither a certificate nor a revocation list")

    def _add_der_certificate(self, content: bytes) -> None:
        self._add_certificates((read_certificate(content, "the file"),))

    def _add_certificates(self, certificates: Iterable[x509.Certificate]) -> None:
        self.certificates.update({der_of(certificate): certificate for certificate in certificates})

    def _add_crl(self, content: bytes) -> None:
        crl = read_crl(content, "the file")
        self.crls[crl.public_bytes(Encoding.DER)] = crl

    def _pck_of(self, quote: Quote) -> x509.Certificate:
        """The certificate whose key signed the QE report."""
        for certificate in self.certificates.values():
            if _signed(certificate, quote.qe_report, quote.qe_signature):
                return certificate
        raise CollateralError("the quote is trimmed, and the certificate of its PCK is not among the collateral")

    def _chain(self, leaf: x509.Certificate) -> Sequence[x509.Certificate]:
        """From the leaf to a certificate that names itself as issuer."""
        chain = [leaf]
        while chain[-1].issuer != chain[-1].subject:
            issuer = next((item for item in self.certificates.values() if item.subject == chain[-1].issuer), None)
            if issuer is None or issuer in chain:
                raise CollateralError(f"{shown(chain[-1].issuer)} is not among the certificates")
            chain.append(issuer)
        return chain

    def _signer_chain(self, document: SignedDocument) -> Sequence[x509.Certificate]:
        for certificate in self.certificates.values():
            if _signed(certificate, document.text.encode(), document.signature):
                return self._chain(certificate)
        raise CollateralError("the certificate that signed TCB info or QE identity is not among the collateral")

    def _crl(self, issuer: x509.Certificate, now_s: int) -> bytes:
        fitting = [
            (crl.public_bytes(Encoding.DER), seconds(crl.last_update_utc))
            for crl in self.crls.values()
            if crl.issuer == issuer.subject
        ]
        return _newest(fitting, now_s, f"revocation list of {shown(issuer.subject)}")


def recognise(parts: CollateralParts, content: bytes) -> bool:
    """Add what is in a file of a folder, which may hold other things as well; whether it was collateral."""
    try:
        parts.add(content)
    except InvalidInputError:
        return False
    return True


def _newest(candidates: Sequence[tuple[_Found, int]], now_s: int, what: str) -> _Found:
    """The newest by issue date that is not from the future; if all are, the verifier will say so."""
    if not candidates:
        raise CollateralError(f"there is no {what} among the collateral")
    issued = [candidate for candidate in candidates if candidate[1] <= now_s]
    return max(issued or candidates, key=lambda candidate: candidate[1])[0]


def _can_be_amds(certificate: x509.Certificate) -> bool:
    return is_signing_key(certificate) or isinstance(certificate.public_key(), rsa.RSAPublicKey)


def _signed(certificate: x509.Certificate, message: bytes, signature: bytes) -> bool:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        return False
    encoded = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    try:
        key.verify(encoded, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
