"""
A receipt: the signed statement "this program on this input gave this output".

EIP-712, domain (name "Adyton", version "1", chain id, Coprocessor). `programId` and `inputHash` are committed through
`requestId`; the payee is inside, so whoever submits a receipt cannot redirect its fee. `context` is a hash of whatever
else the run depended on, zero if there was nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from oracle.crypto.eip712 import domain_separator, typed_data_digest, word
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError, LimitExceededError
from oracle.types.ids import Address, RequestId

DOMAIN_NAME = "Adyton"
DOMAIN_VERSION = "1"
MAX_REASON_BYTES = 256
NO_CONTEXT = bytes(32)
_RECEIPT_TYPE = (
    b"Receipt(bytes32 requestId,uint8 outcome,bytes32 outputHash,uint64 fuelUsed,address payee,bytes32 context)"
)
_RECEIPT_TYPEHASH = keccak256(_RECEIPT_TYPE)
_BATCH_TYPEHASH = keccak256(b"ReceiptBatch(Receipt[] receipts)" + _RECEIPT_TYPE)


class Outcome(IntEnum):
    """How a job ended. Everything but `COMPLETED` carries a short UTF-8 reason in place of an output."""

    COMPLETED = 1
    TRAPPED = 2  # the program threw, or hit a WebAssembly trap
    OUT_OF_FUEL = 3
    OUT_OF_MEMORY = 4
    TIMED_OUT = 5  # wall clock: depends on the host, so no fuel is charged
    OUTPUT_TOO_LARGE = 6
    INVALID_PROGRAM = 7  # does not parse, validate or link
    INPUT_TOO_LARGE = 8
    DENIED = 9  # asks for more than the pool allows
    KILLED = 10  # native stack overflow: depends on the build, so no fuel is charged

    @property
    def is_deterministic(self) -> bool:
        """Whether any honest enclave of the same build would have ended the same way."""
        return self not in (Outcome.TIMED_OUT, Outcome.KILLED)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an enclave signs about one request."""

    request_id: RequestId
    outcome: Outcome
    output_hash: bytes
    fuel_used: int
    payee: Address
    context: bytes = NO_CONTEXT  # what the run depended on besides program and input: `oracle.types.transcript`

    def __post_init__(self) -> None:
        """Refuse what does not fit its field."""
        if not 0 <= self.fuel_used < 1 << 64:
            raise LimitExceededError("fuel_used", (1 << 64) - 1, self.fuel_used)
        if [*map(len, (self.request_id, self.output_hash, self.payee, self.context))] != [32, 32, 20, 32]:
            raise EncodingError(
                "a receipt names a request id, an output hash and a context of 32 bytes, and a payee of 20"
            )

    @property
    def struct_hash(self) -> bytes:
        """EIP-712 `hashStruct`, 32 bytes."""
        fields = (
            self.request_id,
            int(self.outcome),
            self.output_hash,
            self.fuel_used,
            self.payee,
            self.context,
        )
        return keccak256(_RECEIPT_TYPEHASH + b"".join(word(field) for field in fields))

    def digest(self, chain_id: int, coprocessor: Address) -> bytes:
        """The 32 bytes that an enclave signs for this receipt alone."""
        return typed_data_digest(_domain(chain_id, coprocessor), self.struct_hash)


def batch_digest(receipts: Sequence[Receipt], chain_id: int, coprocessor: Address) -> bytes:
    """The 32 bytes that an enclave signs for several receipts at once, in this order."""
    array_hash = keccak256(b"".join(receipt.struct_hash for receipt in receipts))
    return typed_data_digest(_domain(chain_id, coprocessor), keccak256(_BATCH_TYPEHASH + array_hash))


def _domain(chain_id: int, coprocessor: Address) -> bytes:
    return domain_separator(DOMAIN_NAME, DOMAIN_VERSION, chain_id, coprocessor)
