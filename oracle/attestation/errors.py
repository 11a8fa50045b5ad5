"""
Why evidence does not convince. Bytes that are no evidence at all raise `oracle.errors.InvalidInputError` instead.

    AttestationError
    ├── NotGenuineError         a signature, a chain or a field contradicts what the vendor vouches for
    │   ├── UntrustedRootError  all holds, but under a root that the policy does not trust; carries its fingerprint
    │   └── RevokedError        the vendor has revoked a certificate or a platform level
    ├── CollateralError         what the vendor says about the platform is missing, of another platform or not valid now
    └── PolicyError             the policy refuses it; carries every reason, and the attestation if it is genuine
"""

from __future__ import annotations

from oracle.errors import AttestationError
from oracle.types.attestation import Attestation


class NotGenuineError(AttestationError):
    """Not what the vendor's hardware says."""


class UntrustedRootError(NotGenuineError):
    """Another root than those that are trusted."""

    def __init__(self, fingerprint: bytes) -> None:
        super().__init__(f"the chain ends in a root that is not trusted, SHA-256 {fingerprint.hex()}")
        self.fingerprint = fingerprint


class RevokedError(NotGenuineError):
    """Revoked by the vendor."""


class CollateralError(AttestationError):
    """Collateral that cannot serve for this evidence at this time."""


class PolicyError(AttestationError):
    """
    Evidence that the policy refuses. `attestation` is None if it was refused before its signatures were checked, as for
    debug modes that the checking library does not accept either.
    """

    def __init__(self, reasons: tuple[str, ...], attestation: Attestation | None = None) -> None:
        state = "genuine, but refused" if attestation else "refused"
        super().__init__(f"{state} by policy: {'; '.join(reasons)}")
        self.reasons = reasons
        self.attestation = attestation
