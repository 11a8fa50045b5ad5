"""A transaction of a relay account, from signature to inclusion."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from oracle.types.ids import Address


class TransactionKind(StrEnum):
    """Why the relay sends it. The subjects are request ids, for REGISTER the signer, for COLLATERAL the call's id."""

    FULFILL = "fulfill"
    REGISTER = "register"
    EXPIRE = "expire"
    COLLATERAL = "collateral"
    CALL = "call"  # sent by hand, never in a journal
    FILL = "fill"  # does nothing but use up a nonce whose purpose is gone


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559 fees, wei per gas."""

    max_fee_per_gas: int
    max_priority_fee_per_gas: int


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """Ready to broadcast, as often as needed: the nonce lets the chain take it once."""

    account: Address
    nonce: int
    kind: TransactionKind
    subjects: tuple[bytes, ...]
    to: Address
    data: bytes
    gas_limit: int
    fees: Fees
    raw: bytes  # EIP-2718 envelope
    hash: bytes  # 32 bytes


@dataclass(frozen=True, slots=True)
class SentTransaction:
    """What the journal knows of a nonce: the newest signed version, and the hash of every version."""

    newest: SignedTransaction
    hashes: tuple[bytes, ...]  # oldest first; any of them may be the one that is mined
    sent_at_ms: int  # of the newest
    is_moot: bool = False  # nobody needs it any more: what it carries has ended otherwise


@dataclass(frozen=True, slots=True)
class MinedTransaction:
    """A nonce that was seen mined, and where."""

    sent: SentTransaction
    hash: bytes  # of the version that was
    block_number: int
    succeeded: bool
