"""What the store gives back: frozen values, one per row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from oracle.types.block import BlockRef
from oracle.types.finality import LATEST, Finality
from oracle.types.ids import Address, MeasurementId, RequestId
from oracle.types.receipt import Outcome, Receipt
from oracle.types.request import Request


class RequestState(StrEnum):
    """
    Where a request stands, and who may move it.

        SEEN ──watcher──> PENDING ──jobs.execute──> EXECUTED ──submitter──> SUBMITTED
                             │  ^                       ^                      │
                             v  └──jobs.sweep──┐        └──────submitter───────┘  (its transaction was reverted or
                           FAILED ─────────────┘                                   skipped it)
        EXECUTED ──jobs.sweep──> PENDING        (its enclave is gone, and not registered)
        any of them ──watcher──> SETTLED | EXPIRED            (and back, when a reorganisation removes the event)
    """

    SEEN = "seen"  # on chain, but not yet as final as was chosen for it
    PENDING = "pending"  # nobody has a receipt yet
    EXECUTED = "executed"  # a signed receipt is stored
    SUBMITTED = "submitted"  # a signed transaction that carries it is stored
    FAILED = "failed"  # the last attempt gave no receipt; the reason is stored
    SETTLED = "settled"  # the chain says so
    EXPIRED = "expired"  # the chain says so


class EnclaveState(StrEnum):
    """Where an enclave's registration stands."""

    SUPPLYING = "supplying"  # a quote is stored, for which the verifier on chain lacks collateral
    ATTESTED = "attested"  # a quote is stored that can be submitted
    SUBMITTED = "submitted"  # so is a transaction that carries it
    LIVE = "live"  # the registry says so
    DEAD = "dead"  # refused, expired or revoked


class TransactionState(StrEnum):
    """Where a nonce stands."""

    SENT = "sent"
    MINED = "mined"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which chain and contract the store belongs to, and the first block of their history."""

    chain_id: int
    coprocessor: Address
    start: BlockRef


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt with what is needed to submit it."""

    receipt: Receipt
    output: bytes
    signer: Address
    signature: bytes  # 64 bytes, EIP-2098
    logs: bytes = b""
    transcript: bytes = b""  # of what was fetched, as `oracle.types.transcript` encodes it; empty if nothing was


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request and where it stands."""

    request: Request
    request_id: RequestId
    state: RequestState
    block_number: int | None  # None: orphaned by a reorganisation
    transaction_hash: bytes
    seen_at_ms: int
    attempts: int
    reason: str | None
    executed_at_ms: int | None
    sent_at_ms: int | None
    sent_account: Address | None
    sent_nonce: int | None
    ended_block: int | None
    ended_hash: bytes | None  # of the transaction that settled or expired it
    outcome: Outcome | None
    payee: Address | None
    fee_wei: int | None
    callback_succeeded: bool | None
    finality: Finality = LATEST  # what was chosen for it when it was first seen


@dataclass(frozen=True, slots=True)
class StoredEnclave:
    """An enclave's keys, its evidence, and its registration."""

    signer: Address
    sealing_key: bytes
    measurement: MeasurementId
    operator: Address
    state: EnclaveState
    quote: bytes
    anchor_block: int
    live_until_s: int
    seen_at_ms: int
    evaluation_number: int = 0  # of the TCB info by which the registry judged it
    refusal: str | None = None  # why the last attempt to register or renew failed
    refused_at_ms: int = 0
