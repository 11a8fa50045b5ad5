"""What became of a request: `Answer`, or `oracle.types.block.Expired`."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.chain.rpc import JsonRpc
from oracle.chain.settlement import Delivered, read_delivery
from oracle.crypto.ecdsa import recover
from oracle.errors import EncodingError
from oracle.types.block import Expired, Settled
from oracle.types.ids import Address, RequestId
from oracle.types.receipt import Outcome, batch_digest


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that was settled, with what the chain accepted."""

    request_id: RequestId
    outcome: Outcome
    output: bytes | None  # None: settled through another contract, whose calldata is not ours to read
    fuel_used: int
    fee_wei: int
    signer: Address | None  # the enclave's key; None as `output`
    payee: Address
    callback_succeeded: bool
    block_number: int
    transaction_hash: bytes  # 32 bytes

    @property
    def is_completed(self) -> bool:
        """Whether `output` is the program's; otherwise it is a reason."""
        return self.outcome is Outcome.COMPLETED

    @property
    def reason(self) -> str | None:
        """Why the program did not complete, if it did not and the reason can be read."""
        return None if self.is_completed or self.output is None else self.output.decode(errors="replace")


Result = Answer | Expired


def read_result(rpc: JsonRpc, chain_id: int, coprocessor: Address, end: Settled | Expired) -> Result:
    """
    The end of a request with what was delivered, which only the transaction's calldata shows.

    Raises:
        RetryableError: the chain could not be read.
    """
    if isinstance(end, Expired):
        return end
    delivered = read_delivery(rpc, coprocessor, end.transaction_hash)
    at = delivered.position(end.request_id) if delivered is not None else None
    return Answer(
        request_id=end.request_id,
        outcome=end.outcome,
        output=delivered.outputs[at] if delivered is not None and at is not None else None,
        fuel_used=end.fuel_used,
        fee_wei=end.fee_wei,
        signer=signer_of(delivered, chain_id, coprocessor) if delivered is not None and at is not None else None,
        payee=end.payee,
        callback_succeeded=end.callback_succeeded,
        block_number=end.block_number,
        transaction_hash=end.transaction_hash,
    )


def signer_of(delivered: Delivered, chain_id: int, coprocessor: Address) -> Address | None:
    """Whose signature was delivered; None if a pool's proofs are something else than signatures."""
    receipts = delivered.receipts
    digest = (
        batch_digest(receipts, chain_id, coprocessor)
        if delivered.is_batch
        else receipts[0].digest(chain_id, coprocessor)
    )
    try:
        return Address(recover(digest, delivered.proof))
    except EncodingError:
        return None
