"""
What evidence has to be like to be accepted, beyond being genuine: rules over values, no I/O and no cryptography.

The first five fields and the platform lists mean the same as `EnclaveRegistry`'s `Policy` and its platform lists, so
that one decision can be configured for both. The default is as strict as there is. Debug modes are refused whatever the
policy says, and so is what the vendor has revoked.

P1. The status is accepted; out of date only for `grace_period_s` after the vendor's better level.
P2. Every advisory is accepted, whatever the status.
P3. The collateral's evaluation number is not below the minimum (Intel).
P4. The platform is not denied, and is listed if only listed ones are accepted.
P5. Report data is 32 bytes of ours and zeros.
P6. The chain ends in a root of `roots`. Other roots than the vendors' are for development only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from oracle.attestation.errors import PolicyError
from oracle.attestation.roots import VENDOR_ROOTS
from oracle.attestation.snp.report import SnpTcb
from oracle.errors import ConfigurationError
from oracle.types.attestation import Attestation, TcbStatus, TeeKind, advisory_text, pack_advisories

DEFAULT_NITRO_AGE_S: Final = 300
REPORT_DATA_BYTES: Final = 32
_INTEL: Final = (TeeKind.SGX, TeeKind.TDX)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules. Frozen; `dataclasses.replace` makes another."""

    accepted_statuses: frozenset[TcbStatus] = frozenset({TcbStatus.UP_TO_DATE})
    grace_period_s: int = 0
    minimum_evaluation_number: int = 0
    listed_platforms_only: bool = False
    accepted_advisories: frozenset[int] = frozenset()
    allowed_platforms: frozenset[bytes] = frozenset()
    denied_platforms: frozenset[bytes] = frozenset()
    roots: frozenset[bytes] = VENDOR_ROOTS
    is_amd_crl_required: bool = True
    maximum_vmpl: int = 0  # SEV-SNP: 0 is the guest's most privileged level
    minimum_snp_tcb: Mapping[str, SnpTcb] = field(default_factory=dict, hash=False)  # by product: Milan, Genoa, Turin
    maximum_nitro_age_s: int = DEFAULT_NITRO_AGE_S
    takes_any_report_data: bool = False  # for evidence of others; our own convention is P5
    is_insecure_development: bool = False  # roots that are no vendor's

    def __post_init__(self) -> None:
        """Refuse what no policy may say."""
        if not self.accepted_statuses or TcbStatus.REVOKED in self.accepted_statuses:
            raise ConfigurationError("a policy has to accept some status, and cannot accept Revoked")
        if not self.is_insecure_development and not self.roots <= VENDOR_ROOTS:
            raise ConfigurationError("a policy that is not for development can trust the vendors' roots only")
        pack_advisories(self.accepted_advisories)

    @classmethod
    def development(cls, roots: Iterable[bytes]) -> Policy:
        """
        The default policy under other roots, SHA-256 of their certificates, and under no vendor's. For tests and local
        chains: such roots vouch for nothing. Development collateral has no AMD revocation list unless asked for.
        """
        return cls(roots=frozenset(roots), is_insecure_development=True, is_amd_crl_required=False)

    def onchain(self) -> tuple[int, int, int, bool, int]:
        """The fields of the Solidity `Policy`, in its order."""
        statuses = sum(1 << status for status in self.accepted_statuses)
        advisories = pack_advisories(self.accepted_advisories)
        return statuses, self.grace_period_s, self.minimum_evaluation_number, self.listed_platforms_only, advisories

    def apply(self, attestation: Attestation, now_s: int, further: Iterable[str] = ()) -> Attestation:
        """
        The attestation if all rules hold, valid no longer than the grace period if it needs one.

        Args:
            attestation: of genuine evidence.
            now_s: unix seconds.
            further: reasons to refuse that only the technology's verifier can see.

        Raises:
            PolicyError: with every rule that does not hold.
        """
        reasons = (*further, *self._status_reasons(attestation, now_s), *self._platform_reasons(attestation))
        if not self.takes_any_report_data and attestation.report_data_tail.strip(b"\0"):
            reasons = (*reasons, f"report data goes on after {REPORT_DATA_BYTES} bytes")
        if reasons:
            raise PolicyError(reasons, attestation)
        if not attestation.status.is_out_of_date:
            return attestation
        latest_s = attestation.out_of_date_since_s + self.grace_period_s
        return replace(attestation, valid_until_s=min(attestation.valid_until_s, latest_s))

    def _status_reasons(self, attestation: Attestation, now_s: int) -> list[str]:
        reasons = []
        status = attestation.status
        if status not in self.accepted_statuses:
            reasons.append(f"status {status.text}")
        elif status.is_out_of_date and now_s > attestation.out_of_date_since_s + self.grace_period_s:
            reasons.append(f"status {status.text} for longer than the grace period")
        unaccepted = sorted(attestation.advisories - self.accepted_advisories)
        if unaccepted:
            reasons.append(f"advisories not accepted: {', '.join(map(advisory_text, unaccepted))}")
        if attestation.kind in _INTEL and attestation.evaluation_number < self.minimum_evaluation_number:
            reasons.append(f"evaluation number {attestation.evaluation_number}, below {self.minimum_evaluation_number}")
        return reasons

    def _platform_reasons(self, attestation: Attestation) -> list[str]:
        name = f"platform 0x{attestation.platform.hex()}"
        if attestation.platform in self.denied_platforms:
            return [f"{name} is denied"]
        if self.listed_platforms_only and attestation.platform not in self.allowed_platforms:
            return [f"{name} is not listed"]
        return []


def split_report_data(content: bytes) -> tuple[bytes, bytes]:
    """The first 32 bytes, zeros standing for those that are missing, and what comes after."""
    return content[:REPORT_DATA_BYTES].ljust(REPORT_DATA_BYTES, b"\0"), content[REPORT_DATA_BYTES:]
