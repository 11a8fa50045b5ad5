"""
Gas limits and fees: pure arithmetic.

A settlement's gas limit follows from its calldata and callback gas alone, so it is the same on every host, and it
always satisfies the contract's exact-gas check: `callbackGas * 64/63` must be left when the callback begins (EIP-150).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oracle.types.transaction import Fees

MAX_TRANSACTION_GAS = 1 << 24  # EIP-7825
EXPIRY_CALLBACK_GAS = 100_000  # Coprocessor.EXPIRY_CALLBACK_GAS
FILL_GAS = 21_000
_BASE_GAS = 21_000
_FIXED_GAS = 60_000  # proof: a few cold slots and ecrecover
_SETTLEMENT_GAS = 50_000  # per request: its slot, two tabs' slot, event, call
_TOKEN_GAS, _FLOOR_TOKEN_GAS = 4, 10  # EIP-7623; a zero byte is one token, any other four
_WORD_GAS = 40  # of output: hash, copies, log
_CALL_COST = 6_000  # ConsumerCall.CALL_COST
_DELIVERY_BYTES = 7 * 32  # of calldata, besides the output: offset, id, fuel, outcome, offset, context, length
_DELIVERY_TOKENS = _DELIVERY_BYTES + 3 * 84  # of which so many bytes may not be zero
BATCH_RESERVE_GAS = _BASE_GAS + _FIXED_GAS + 200_000  # of a limit, whatever is in the batch: proof, memory
SHARED_USE_GAS = _BASE_GAS + 13_000  # used by a settlement, whatever it carries
_DELIVERY_USE_GAS = 12_000  # used by each delivery besides calldata and callback; tests compare both with a real chain
_GWEI = 10**9


def calldata_gas(data: bytes) -> int:
    """What the bytes of a transaction cost before it runs: the larger of the usual price and the floor."""
    tokens = len(data) + 3 * (len(data) - data.count(0))
    return _BASE_GAS + max(tokens * _TOKEN_GAS, tokens * _FLOOR_TOKEN_GAS)


def settlement_gas(data: bytes, callback_gas: Sequence[int]) -> int:
    """The gas limit of `fulfill` or `fulfillBatch`, given its calldata and what each request asked for."""
    words = -(-len(data) // 32)
    memory = _WORD_GAS * words + words * words // 128
    callbacks = sum(_exact(gas) for gas in callback_gas)
    limit = calldata_gas(data) + _FIXED_GAS + _SETTLEMENT_GAS * len(callback_gas) + callbacks + memory
    return min(MAX_TRANSACTION_GAS, limit)


def delivery_gas(output: bytes, callback_gas: int) -> int:
    """What one delivery adds to the gas limit of a batch, at most."""
    words = -(-len(output) // 32)
    tokens = _DELIVERY_TOKENS + 32 * words + 3 * (len(output) - output.count(0))
    return tokens * _FLOOR_TOKEN_GAS + _SETTLEMENT_GAS + _exact(callback_gas) + _WORD_GAS * (words + 6)


def delivery_use_gas(output: bytes, callback_gas: int) -> int:
    """
    What one delivery adds to the gas that a settlement uses, if the callback uses all it gets and no other delivery is
    for the same consumer: somewhat too much in all other cases.
    """
    tokens = _DELIVERY_TOKENS + len(output) + 3 * (len(output) - output.count(0))
    run = _DELIVERY_USE_GAS + callback_gas + _WORD_GAS * (len(output) // 32)
    return max(tokens * _TOKEN_GAS + run, tokens * _FLOOR_TOKEN_GAS)


def delivery_bytes(output: bytes) -> int:
    """The calldata of one delivery in a batch."""
    return _DELIVERY_BYTES + -(-len(output) // 32) * 32


def expiry_gas(data: bytes) -> int:
    """The gas limit of `expire`."""
    return calldata_gas(data) + _FIXED_GAS + _SETTLEMENT_GAS + _exact(EXPIRY_CALLBACK_GAS)


def _exact(gas: int) -> int:
    return gas + gas // 63 + 1 + _CALL_COST


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """What the operator pays for inclusion, wei per gas."""

    max_fee_per_gas: int
    max_priority_fee_per_gas: int

    @classmethod
    def of_gwei(cls, max_fee: float, max_priority_fee: float) -> FeePolicy:
        """From settings, which are in gwei."""
        return cls(int(max_fee * _GWEI), int(min(max_priority_fee, max_fee) * _GWEI))

    def fees(self, base_fee_per_gas: int) -> Fees | None:
        """Fees that survive several full blocks; None if even the present base fee is over the cap."""
        wanted = 2 * base_fee_per_gas + self.max_priority_fee_per_gas
        if base_fee_per_gas + min(1, self.max_priority_fee_per_gas) > self.max_fee_per_gas:
            return None
        max_fee = min(wanted, self.max_fee_per_gas)
        return Fees(max_fee, min(self.max_priority_fee_per_gas, max_fee))

    def bumped(self, old: Fees, base_fee_per_gas: int) -> Fees | None:
        """Fees that nodes accept as a replacement (an eighth more, they ask for a tenth); None if over the cap."""
        tip = old.max_priority_fee_per_gas + old.max_priority_fee_per_gas // 8 + 1
        max_fee = max(old.max_fee_per_gas + old.max_fee_per_gas // 8 + 1, base_fee_per_gas + tip)
        return Fees(max_fee, tip) if max_fee <= self.max_fee_per_gas else None
