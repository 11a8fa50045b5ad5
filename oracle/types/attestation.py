"""
What a quote binds (`report_data`) and what a verified quote says (`Attestation`).

`TcbStatus`, the packing of advisories and the rules that merge both are the same in Solidity
(`contracts/types/Attestation.sol`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from oracle.crypto.domains import REGISTRATION_DOMAIN
from oracle.crypto.eip712 import word
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError, LimitExceededError
from oracle.types.ids import Address, MeasurementId

MAX_ADVISORIES = 16  # one EVM word holds as many uint16
FIRST_NOTICE = 0x8000  # Intel's notices are numbered from here
_ADVISORY = re.compile(r"INTEL-SA-([0-9]{5})|INTEL-DOC-1([0-9]{4})", re.ASCII)


class TeeKind(StrEnum):
    """The technologies whose evidence is understood."""

    SGX = "SGX"
    TDX = "TDX"
    SEV_SNP = "SEV-SNP"
    NITRO = "Nitro"


class TcbStatus(IntEnum):
    """
    What the vendor says about the firmware and microcode of a platform. The order is from good to bad, but
    `merge_statuses` is not the maximum: configuration and age add up.
    """

    UP_TO_DATE = 0
    SW_HARDENING_NEEDED = 1
    CONFIGURATION_NEEDED = 2
    CONFIGURATION_AND_SW_HARDENING_NEEDED = 3
    OUT_OF_DATE = 4
    OUT_OF_DATE_CONFIGURATION_NEEDED = 5
    REVOKED = 6

    @property
    def text(self) -> str:
        """As Intel writes it."""
        return _STATUS_TEXTS[self]

    @property
    def is_out_of_date(self) -> bool:
        """Whether the vendor has published a better level that this platform does not have."""
        return self in (TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED)

    @classmethod
    def parse(cls, text: object) -> TcbStatus:
        """
        The status that Intel writes as `text`.

        Raises:
            EncodingError: there is no such status.
        """
        for status, known in _STATUS_TEXTS.items():
            if known == text:
                return status
        raise EncodingError(f"{str(text)[:80]!r} is not a TCB status")


_STATUS_TEXTS = {
    TcbStatus.UP_TO_DATE: "UpToDate",
    TcbStatus.SW_HARDENING_NEEDED: "SWHardeningNeeded",
    TcbStatus.CONFIGURATION_NEEDED: "ConfigurationNeeded",
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: "ConfigurationAndSWHardeningNeeded",
    TcbStatus.OUT_OF_DATE: "OutOfDate",
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED: "OutOfDateConfigurationNeeded",
    TcbStatus.REVOKED: "Revoked",
}
_NEEDS_CONFIGURATION = frozenset(
    {
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    }
)


def merge_statuses(first: TcbStatus, second: TcbStatus) -> TcbStatus:
    """
    The status of a whole whose parts have these: the worse, but a part out of date and a part to be configured make
    `OUT_OF_DATE_CONFIGURATION_NEEDED`. Commutative and associative.
    """
    worse = max(first, second)
    if worse == TcbStatus.OUT_OF_DATE and not _NEEDS_CONFIGURATION.isdisjoint((first, second)):
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
    return worse


def parse_advisory(text: object) -> int:
    """
    The number of an advisory: 615 of `INTEL-SA-00615`, 0x8003 of the notice `INTEL-DOC-10003`.

    Raises:
        EncodingError: of neither form, zero, or over 32767.
    """
    match = _ADVISORY.fullmatch(text) if isinstance(text, str) else None
    number = 0 if match is None else int(match[1]) if match[1] else FIRST_NOTICE + int(match[2])
    if number == 0 or (match is not None and match[1] and number >= FIRST_NOTICE):
        raise EncodingError(f"{str(text)[:80]!r} is not an Intel security advisory such as INTEL-SA-00615")
    return number


def advisory_text(number: int) -> str:
    """As Intel writes it."""
    return f"INTEL-SA-{number:05}" if number < FIRST_NOTICE else f"INTEL-DOC-{10_000 + number - FIRST_NOTICE}"


def pack_advisories(numbers: Iterable[int]) -> int:
    """
    One EVM word: the different numbers as uint16, ascending from the low end.

        255 ... 32 | 31 ... 16: second smallest | 15 ... 0: smallest

    Raises:
        LimitExceededError: more than 16 of them.
        EncodingError: one is not a uint16, or zero.
    """
    ascending = sorted(set(numbers))
    if len(ascending) > MAX_ADVISORIES:
        raise LimitExceededError("the number of advisories", MAX_ADVISORIES, len(ascending))
    if any(not 0 < number < 1 << 16 for number in ascending):
        raise EncodingError("an advisory's number is between 1 and 65535")
    return sum(number << 16 * at for at, number in enumerate(ascending))


def unpack_advisories(packed: int) -> frozenset[int]:
    """The numbers in a word as `pack_advisories` makes it."""
    return frozenset(number for at in range(MAX_ADVISORIES) if (number := packed >> 16 * at & 0xFFFF))


@dataclass(frozen=True, slots=True)
class Attestation:
    """
    The verified content of a quote.

    Who uses it must still compare `measurement` with the builds that it approves and `report_data` with what it
    expects: without both, this says only that some enclave on genuine hardware said something.
    """

    kind: TeeKind
    measurement: MeasurementId
    report_data: bytes  # 32 bytes: the hash that the enclave chose
    platform: bytes  # 32 bytes, names the machine
    valid_until_s: int  # unix seconds: the first expiry of all that vouches for the quote
    status: TcbStatus = TcbStatus.UP_TO_DATE
    advisories: frozenset[int] = frozenset()  # Intel's numbers: INTEL-SA-00615 is 615
    out_of_date_since_s: int = 0  # unix seconds; 0 unless the status is out of date
    evaluation_number: int = 0  # of the collateral; Intel only
    report_data_tail: bytes = bytes(32)  # what the enclave put after the hash; zero by our convention


def report_data(
    chain_id: int,
    registry: Address,
    signer: Address,
    sealing_key: bytes,
    operator: Address,
    anchor_block_hash: bytes,
) -> bytes:
    """
    The 32 bytes that an enclave puts into a quote to register `signer`: they bind the keys to one chain, one registry,
    one operator and a recent block.
    """
    fields = (chain_id, registry, signer, sealing_key, operator, anchor_block_hash)
    return keccak256(REGISTRATION_DOMAIN + b"".join(word(field) for field in fields))
