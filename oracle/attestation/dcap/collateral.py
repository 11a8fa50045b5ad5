"""
Everything that Intel publishes about one platform and that a quote does not carry, as one value.

Chains are PEM, leaf first; revocation lists are DER; signatures are `r || s`; documents are the exact text that was
signed. Reading decides nothing but form and size.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from oracle.attestation import strict_json
from oracle.attestation.dcap.quote import SIGNATURE_BYTES
from oracle.attestation.dcap.tcb_info import MAX_DOCUMENT_BYTES
from oracle.attestation.reader import require_size
from oracle.attestation.strict_json import Members, hex_bytes
from oracle.attestation.x509 import MAX_CHAIN_BYTES, MAX_CRL_BYTES
from oracle.errors import EncodingError

MAX_COLLATERAL_BYTES: Final = 4_194_304
_PEM_CRL: Final = re.compile(r"\s*-----BEGIN X509 CRL-----([^-]*)-----END X509 CRL-----\s*")


@dataclass(frozen=True, slots=True)
class DcapCollateral:
    """The fields of Intel's `sgx_ql_qve_collateral_t`, and the PCK's own chain for quotes that come without."""

    pck_crl_chain: str  # the authority of the PCK, root
    root_crl: bytes
    pck_crl: bytes
    tcb_info_chain: str  # TCB signer, root
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity_chain: str  # TCB signer, root
    qe_identity: str
    qe_identity_signature: bytes
    pck_chain: str | None = None  # PCK, its authority, root

    def __post_init__(self) -> None:
        """Refuse what is too large, or no signature."""
        chains = (self.pck_crl_chain, self.tcb_info_chain, self.qe_identity_chain, self.pck_chain or "")
        for chain in chains:
            _require_text(chain, MAX_CHAIN_BYTES, "a certificate chain")
        for crl in (self.root_crl, self.pck_crl):
            require_size(crl, MAX_CRL_BYTES, "a revocation list")
        for document in (self.tcb_info, self.qe_identity):
            _require_text(document, MAX_DOCUMENT_BYTES, "a document of Intel's")
        if {len(self.tcb_info_signature), len(self.qe_identity_signature)} != {SIGNATURE_BYTES}:
            raise EncodingError(f"the signatures of TCB info and QE identity have {SIGNATURE_BYTES} bytes each")

    @classmethod
    def parse(cls, content: bytes) -> DcapCollateral:
        """
        Collateral as one JSON object, as PCCS clients of Phala and dcap-qvl write it.

        Raises:
            EncodingError: not such an object.
            LimitExceededError: over 4 MiB in all, or one part over its own limit.
        """
        return cls.read(strict_json.parse(text_of(content, "collateral"), "collateral"))

    @classmethod
    def read(cls, members: Members) -> DcapCollateral:
        """The same from an object within another. Raises as `parse`."""
        has_chain = "pck_certificate_chain" in members
        return cls(
            members.text("pck_crl_issuer_chain"),
            _crl(members, "root_ca_crl"),
            _crl(members, "pck_crl"),
            members.text("tcb_info_issuer_chain"),
            members.text("tcb_info"),
            members.octets("tcb_info_signature", SIGNATURE_BYTES),
            members.text("qe_identity_issuer_chain"),
            members.text("qe_identity"),
            members.octets("qe_identity_signature", SIGNATURE_BYTES),
            members.text("pck_certificate_chain") if has_chain else None,
        )

    def members(self) -> dict[str, str]:
        """The object that `read` reads."""
        chain = {} if self.pck_chain is None else {"pck_certificate_chain": self.pck_chain}
        return {
            "pck_crl_issuer_chain": self.pck_crl_chain,
            "root_ca_crl": self.root_crl.hex(),
            "pck_crl": self.pck_crl.hex(),
            "tcb_info_issuer_chain": self.tcb_info_chain,
            "tcb_info": self.tcb_info,
            "tcb_info_signature": self.tcb_info_signature.hex(),
            "qe_identity_issuer_chain": self.qe_identity_chain,
            "qe_identity": self.qe_identity,
            "qe_identity_signature": self.qe_identity_signature.hex(),
            **chain,
        }


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A TCB info or a QE identity as the service answers it: the signed text, and the signature."""

    text: str
    signature: bytes

    @classmethod
    def parse(cls, content: bytes, member: str) -> SignedDocument:
        """
        From `{"tcbInfo": …, "signature": …}` or `{"enclaveIdentity": …, "signature": …}`; `member` is the first name.

        Raises:
            EncodingError: not such an object.
            LimitExceededError: over 4 MiB.
        """
        text = text_of(content, member)
        texts = strict_json.member_texts(text, member)
        if member not in texts:
            raise EncodingError(f"there is no {member} in this object")
        return cls(texts[member], strict_json.parse(text, member).octets("signature", SIGNATURE_BYTES))


def text_of(content: bytes, what: str) -> str:
    """
    The UTF-8 text of at most 4 MiB.

    Raises:
        EncodingError: not UTF-8.
        LimitExceededError: too large.
    """
    require_size(content, MAX_COLLATERAL_BYTES, what)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise EncodingError(f"{what} is not UTF-8 text") from error


def crl_bytes(text: str, what: str) -> bytes:
    """
    DER behind text: hexadecimal, PEM or base64.

    Raises:
        EncodingError: none of these.
    """
    compact = "".join(text.split())
    if (content := hex_bytes(compact)) is not None:
        return content
    pem = _PEM_CRL.fullmatch(text)
    try:
        return base64.b64decode("".join(pem[1].split()) if pem else compact, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EncodingError(f"{what} is neither hexadecimal nor PEM nor base64") from error


def _require_text(text: str, limit: int, what: str) -> None:
    try:
        require_size(text.encode(), limit, what)
    except UnicodeEncodeError as error:  # JSON can write halves of characters
        raise EncodingError(f"{what} is not text that UTF-8 can write") from error


def _crl(members: Members, name: str) -> bytes:
    return crl_bytes(members.text(name), name)
