"""
What of a quote goes on chain: header to QE authentication data, in the one form that the contract accepts.

Certificates are cached on chain, and calldata costs more than checking them. Trimming also makes canonical: both
signatures get the lower s, and the length words, which nobody signed, count the trimmed content. So every flipped bit
of a trimmed quote is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from oracle.attestation.dcap.quote import PCK_CHAIN, QE_CERTIFICATION, Quote
from oracle.attestation.errors import NotGenuineError
from oracle.attestation.x509 import der_of, read_chain
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError

QE_AUTHENTICATION_BYTES: Final = 32
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class OnchainEvidence:
    """A trimmed quote, and the certificates that have to be known on chain before it."""

    pck_id: bytes  # keccak256(x || y) of the PCK, 32 bytes
    trimmed: bytes
    pck_der: bytes
    ca_der: bytes
    cached: bytes  # what is enough once the attestation key is cached on chain

    @property
    def evidence(self) -> bytes:
        """What `DcapVerifier.verify` takes."""
        return self.pck_id + self.trimmed


def trim(quote: Quote) -> bytes:
    """
    The canonical trimmed form of a quote, whole or trimmed.

    Raises:
        EncodingError: the QE authentication data is not 32 bytes, or a signature is no pair of scalars.
    """
    if len(quote.qe_authentication) != QE_AUTHENTICATION_BYTES:
        size = len(quote.qe_authentication)
        raise EncodingError(f"the QE authentication data has {size} bytes, the chain takes {QE_AUTHENTICATION_BYTES}")
    return _assemble(quote, low_s(quote.signature), low_s(quote.qe_signature), b"")


def trim_to_key(quote: Quote) -> bytes:
    """
    The canonical form that ends with the attestation key, for when that key is cached on chain.

    Raises:
        EncodingError: the signature is no pair of scalars.
    """
    content = low_s(quote.signature) + quote.attestation_key
    return quote.signed + len(content).to_bytes(4, "little") + content


def untrim(quote: Quote, pck_chain: str) -> bytes:
    """The quote with `pck_chain`, PEM, as its certification data; the signatures stay as they are."""
    chain = pck_chain.encode()
    certification = PCK_CHAIN.to_bytes(2, "little") + len(chain).to_bytes(4, "little") + chain
    return _assemble(quote, quote.signature, quote.qe_signature, certification)


def low_s(signature: bytes) -> bytes:
    """
    The signature `r || s` over P-256 with s in the lower half of the order; both halves verify.

    Raises:
        EncodingError: r or s is not in 1 .. n-1.
    """
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        raise EncodingError("a signature's numbers are not below the order of P-256")
    return signature[:32] + min(s, _P256_ORDER - s).to_bytes(32)


def onchain_evidence(quote: Quote) -> OnchainEvidence:
    """
    What goes on chain for a whole quote. Nothing is verified here: the contract does that.

    Raises:
        EncodingError: as `trim`, or the quote does not carry the certificates of its PCK.
        NotGenuineError: the PCK is not a P-256 key.
    """
    if quote.certification_type != PCK_CHAIN:
        raise EncodingError("the quote does not carry the certificate chain of its PCK")
    chain = read_chain(quote.certification_data, "the quote's certificate chain")
    if len(chain) < 2:
        raise EncodingError("the quote's certificate chain lacks the authority of the PCK")
    key = chain[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise NotGenuineError("the PCK is not a P-256 key")
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    return OnchainEvidence(keccak256(point), trim(quote), der_of(chain[0]), der_of(chain[1]), trim_to_key(quote))


def _assemble(quote: Quote, signature: bytes, qe_signature: bytes, certification: bytes) -> bytes:
    authentication = len(quote.qe_authentication).to_bytes(2, "little") + quote.qe_authentication
    qe_part = quote.qe_report + qe_signature + authentication + certification
    if quote.header.version > 3:
        qe_part = QE_CERTIFICATION.to_bytes(2, "little") + len(qe_part).to_bytes(4, "little") + qe_part
    content = signature + quote.attestation_key + qe_part
    return quote.signed + len(content).to_bytes(4, "little") + content
