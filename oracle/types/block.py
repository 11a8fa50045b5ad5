"""What the chain tells the host: blocks, and the events in the life of a request."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.types.ids import Address, RequestId
from oracle.types.receipt import Outcome
from oracle.types.request import Request


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block of one history. Two blocks of the same number and different hashes are a reorganisation."""

    number: int
    hash: bytes  # 32 bytes
    timestamp_s: int  # unix seconds, as the chain says


@dataclass(frozen=True, slots=True)
class Created:
    """`RequestCreated`: somebody asked."""

    request: Request
    input: bytes
    block_number: int
    transaction_hash: bytes

    @property
    def request_id(self) -> RequestId:
        """Of the request, as all events have it."""
        return self.request.request_id


@dataclass(frozen=True, slots=True)
class Settled:
    """`RequestSettled`: a receipt was accepted and the consumer called back."""

    request_id: RequestId
    payee: Address
    outcome: Outcome
    callback_succeeded: bool
    fuel_used: int
    fee_wei: int
    block_number: int
    transaction_hash: bytes


@dataclass(frozen=True, slots=True)
class Expired:
    """`RequestExpired`: nobody answered in time and the consumer has its money back."""

    request_id: RequestId
    callback_succeeded: bool
    block_number: int
    transaction_hash: bytes


Event = Created | Settled | Expired
