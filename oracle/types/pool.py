"""
A pool is its id: the contract that checks its proofs, and its prices.

    | verifier 160 | base fee, gwei 32 | callback gas price, 10^6 wei per gas 32 | fuel price, wei per 1,000 fuel 32 |

Nothing about a pool is stored on chain, a price change is a new id, and a request is charged what its pool said when it
was made. The same packing is in `contracts/types/Pool.sol`; `tests/vectors` binds the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from oracle.errors import EncodingError, LimitExceededError
from oracle.types.ids import Address, PoolId

GWEI = 10**9
_GAS_PRICE_UNIT_WEI = 10**6
_FUEL_PRICE_UNIT = 1_000
GAS_PER_OUTPUT_BYTE = 40  # EIP-7623's floor for a byte of calldata that is not zero
_MAX_PRICE = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Pool:
    """Who proves, and what it costs."""

    verifier: Address
    base_fee_gwei: int
    gas_price_mwei: int  # 10^6 wei per gas of callback
    fuel_price_wei_per_1000: int

    def __post_init__(self) -> None:
        """Refuse what does not fit its field."""
        if len(self.verifier) != 20:
            raise EncodingError(f"a verifier is an address of 20 bytes, not {len(self.verifier)}")
        for what in ("base_fee_gwei", "gas_price_mwei", "fuel_price_wei_per_1000"):
            value = getattr(self, what)
            if not 0 <= value <= _MAX_PRICE:
                raise LimitExceededError(what, _MAX_PRICE, value)

    @property
    def pool_id(self) -> PoolId:
        """The packed id, 32 bytes."""
        prices = (self.base_fee_gwei, self.gas_price_mwei, self.fuel_price_wei_per_1000)
        return PoolId(self.verifier + b"".join(price.to_bytes(4) for price in prices))

    @classmethod
    def from_id(cls, pool_id: PoolId) -> Self:
        """
        Unpack an id. Every 32 bytes are a pool; whether its verifier is a contract is for the chain to say.

        Raises:
            EncodingError: not 32 bytes.
        """
        if len(pool_id) != 32:
            raise EncodingError(f"a pool id has 32 bytes, not {len(pool_id)}")
        base, gas, fuel = (int.from_bytes(pool_id[at : at + 4]) for at in (20, 24, 28))
        return cls(Address(pool_id[:20]), base, gas, fuel)

    def floor_wei(self, callback_gas: int) -> int:
        """What a request costs before its first unit of fuel, in wei."""
        return self.base_fee_gwei * GWEI + callback_gas * self.gas_price_mwei * _GAS_PRICE_UNIT_WEI

    def cost_wei(self, callback_gas: int, fuel_used: int, output_bytes: int) -> int:
        """What a receipt costs before the cap by what was escrowed, in wei: posting an output is priced as gas."""
        fuel_wei = -(-fuel_used * self.fuel_price_wei_per_1000 // _FUEL_PRICE_UNIT)
        return self.floor_wei(callback_gas + output_bytes * GAS_PER_OUTPUT_BYTE) + fuel_wei

    def fee_wei(self, callback_gas: int, fuel_used: int, output_bytes: int, max_fee_wei: int) -> int:
        """What a settled request costs, in wei; never more than was escrowed."""
        return min(max_fee_wei, self.cost_wei(callback_gas, fuel_used, output_bytes))

    def affordable_fuel(self, callback_gas: int, max_fee_wei: int) -> int:
        """How much fuel `max_fee_wei` pays for after the floor; 0 if it does not even cover that."""
        left_wei = max(0, max_fee_wei - self.floor_wei(callback_gas))
        if self.fuel_price_wei_per_1000 == 0:
            return 2**63 - 1
        return min(2**63 - 1, left_wei * _FUEL_PRICE_UNIT // self.fuel_price_wei_per_1000)
