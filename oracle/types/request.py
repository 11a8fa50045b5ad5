"""
A request and its id.

`requestId = keccak256(abi.encode(chainId, coprocessor, consumer, programId, poolId, inputHash, terms))`, so the id
commits to everything: who holds a receipt for an id holds it for these fields and no others. `terms` is one word:

    | zero 32 | nonce 64 | created at, unix s 64 | deadline, unix s 32 | callback gas 24 | max fee, gwei 40 |

The same packing is in `contracts/types/Request.sol`; `tests/vectors` binds the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from oracle.crypto.eip712 import word
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError, LimitExceededError
from oracle.types.ids import Address, PoolId, ProgramId, RequestId
from oracle.types.pool import GWEI

_FIELD_BITS = {
    "chain_id": 256,
    "nonce": 64,
    "created_at_s": 64,
    "deadline_s": 32,
    "callback_gas": 24,
    "max_fee_gwei": 40,
}
_FIELD_BYTES = {
    "coprocessor": 20,
    "consumer": 20,
    "program_id": 32,
    "pool_id": 32,
    "input_hash": 32,
}


@dataclass(frozen=True, slots=True)
class Request:
    """One ask to run a program on an input."""

    chain_id: int
    coprocessor: Address
    consumer: Address
    program_id: ProgramId
    pool_id: PoolId
    input_hash: bytes
    nonce: int
    created_at_s: int
    deadline_s: int
    callback_gas: int
    max_fee_gwei: int

    def __post_init__(self) -> None:
        """Refuse what does not fit its field, so that two requests never share an encoding."""
        for what, bits in _FIELD_BITS.items():
            value = getattr(self, what)
            if not 0 <= value < 1 << bits:
                raise LimitExceededError(what, (1 << bits) - 1, value)
        for what, size in _FIELD_BYTES.items():
            if len(getattr(self, what)) != size:
                raise EncodingError(f"{what} has {size} bytes, not {len(getattr(self, what))}")

    @property
    def terms(self) -> int:
        """The packed word of nonce, times, callback gas and fee."""
        return (
            self.nonce << 160
            | self.created_at_s << 96
            | self.deadline_s << 64
            | self.callback_gas << 40
            | self.max_fee_gwei
        )

    @property
    def max_fee_wei(self) -> int:
        """What the consumer escrowed, in wei."""
        return self.max_fee_gwei * GWEI

    @property
    def request_id(self) -> RequestId:
        """The 32-byte id."""
        words = (
            self.chain_id,
            self.coprocessor,
            self.consumer,
            self.program_id,
            self.pool_id,
            self.input_hash,
            self.terms,
        )
        return RequestId(keccak256(b"".join(word(value) for value in words)))

    @classmethod
    def from_terms(
        cls,
        chain_id: int,
        coprocessor: Address,
        consumer: Address,
        program_id: ProgramId,
        pool_id: PoolId,
        input_hash: bytes,
        terms: int,
    ) -> Self:
        """
        Build a request from its packed terms, as the chain logs them.

        Raises:
            InvalidInputError: a field does not fit, or the unused bits of `terms` are not zero.
        """
        if terms >> 224:
            raise EncodingError("the unused bits of the request's terms are not zero")

        def bits(shift: int, width: int) -> int:
            return terms >> shift & (1 << width) - 1

        times = (bits(160, 64), bits(96, 64), bits(64, 32), bits(40, 24), bits(0, 40))
        return cls(chain_id, coprocessor, consumer, program_id, pool_id, input_hash, *times)
