"""
The certificates and revocation lists behind one quote: read, checked against each other, the clock and the root.

dcap-qvl checks chains as well; this is a second opinion by another library, and it is stricter: a revocation list must
not lie in the future, must be of exactly the authority that it is used for, and every chain ends in the same root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.errors import NotGenuineError, UntrustedRootError
from oracle.attestation.x509 import (
    INTEL_RULES,
    check_chain,
    check_crl,
    check_key,
    check_not_revoked,
    der_of,
    expiry_s,
    fingerprint,
    read_chain,
    read_crl,
    seconds,
)

_PCK_CHAIN_LENGTH: Final = 3
_SIGNER_CHAIN_LENGTH: Final = 2


@dataclass(frozen=True, slots=True)
class DcapChains:
    """What was read. `check` has to pass before anything of it is believed."""

    pck: tuple[x509.Certificate, ...]  # PCK, authority, root
    tcb_signer: tuple[x509.Certificate, ...]  # signer, root
    qe_signer: tuple[x509.Certificate, ...]  # signer, root
    crl_signer: tuple[x509.Certificate, ...]  # authority of the PCK, root
    pck_crl: x509.CertificateRevocationList
    root_crl: x509.CertificateRevocationList

    @classmethod
    def read(cls, pck_chain: bytes, collateral: DcapCollateral) -> DcapChains:
        """
        Read all of it.

        Raises:
            InvalidInputError: something cannot be read.
            NotGenuineError: a chain has not the length that Intel's have, or the list is of another authority.
        """
        chains = cls(
            read_chain(pck_chain, "the PCK chain"),
            read_chain(collateral.tcb_info_chain.encode(), "the TCB info chain"),
            read_chain(collateral.qe_identity_chain.encode(), "the QE identity chain"),
            read_chain(collateral.pck_crl_chain.encode(), "the PCK revocation list's chain"),
            read_crl(collateral.pck_crl, "the PCK revocation list"),
            read_crl(collateral.root_crl, "the root revocation list"),
        )
        if len(chains.pck) != _PCK_CHAIN_LENGTH:
            raise NotGenuineError(f"the PCK chain has {len(chains.pck)} certificates, not {_PCK_CHAIN_LENGTH}")
        if {len(chain) for chain in chains.signers} != {_SIGNER_CHAIN_LENGTH}:
            raise NotGenuineError("the chains of collateral have signer and root, nothing else")
        authority, signer = chains.pck[1], chains.crl_signer[0]
        if (authority.subject, authority.public_key()) != (signer.subject, signer.public_key()):
            raise NotGenuineError("the PCK revocation list is of another authority than the PCK")
        return chains

    @property
    def signers(self) -> tuple[tuple[x509.Certificate, ...], ...]:
        """The chains of collateral."""
        return self.tcb_signer, self.qe_signer, self.crl_signer

    @property
    def root(self) -> x509.Certificate:
        """The root that the PCK chain ends in."""
        return self.pck[-1]

    def check(self, now_s: int, roots: frozenset[bytes]) -> None:
        """
        Root trusted, chains and lists whole and valid at `now_s`, nothing revoked.

        Raises:
            UntrustedRootError, NotGenuineError, RevokedError, CollateralError: as they say.
        """
        if fingerprint(self.root) not in roots:
            raise UntrustedRootError(fingerprint(self.root))
        if {der_of(chain[-1]) for chain in (self.pck, *self.signers)} != {der_of(self.root)}:
            raise NotGenuineError("the chains do not all end in the same root")
        check_chain(self.pck, now_s, INTEL_RULES, "the PCK chain")
        check_chain(self.tcb_signer, now_s, INTEL_RULES, "the TCB info chain")
        check_chain(self.qe_signer, now_s, INTEL_RULES, "the QE identity chain")
        check_chain(self.crl_signer, now_s, INTEL_RULES, "the PCK revocation list's chain", is_leaf_authority=True)
        for leaf, name in ((self.pck[0], "the PCK"), (self.tcb_signer[0], "the TCB signer")):
            check_key(leaf, INTEL_RULES, name)
        check_crl(self.root_crl, self.root, now_s, "the root revocation list")
        check_crl(self.pck_crl, self.pck[1], now_s, "the PCK revocation list")
        check_not_revoked(self.pck[0], self.pck_crl, "the PCK")
        check_not_revoked(self.pck[1], self.root_crl, "the authority of the PCK")
        check_not_revoked(self.tcb_signer[0], self.root_crl, "the signer of TCB info")
        check_not_revoked(self.qe_signer[0], self.root_crl, "the signer of QE identity")
        check_not_revoked(self.root, self.root_crl, "the root")

    def valid_until_s(self) -> int:
        """The first expiry of all certificates and lists."""
        certificates = (*self.pck, *self.tcb_signer, *self.qe_signer, *self.crl_signer)
        expiries = (seconds(certificate.not_valid_after_utc) for certificate in certificates)
        return min(*expiries, expiry_s(self.pck_crl), expiry_s(self.root_crl))
