"""
Does the fee pay for the gas? A rule without I/O.

Gas that all items of a transaction share is paid by what they leave over together. Nothing is ever sent at a loss, by
the figures given; the gas used on chain can differ from them, and the base fee can rise before inclusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """What one receipt brings, and what delivering it adds to its transaction."""

    fee_wei: int
    gas: int

    def profit_wei(self, gas_price_wei: int) -> int:
        """What is left of the fee, before the gas that is shared."""
        return self.fee_wei - self.gas * gas_price_wei


def paying(offers: Sequence[Offer], gas_price_wei: int, shared_gas: int, minimum_wei: int) -> list[bool]:
    """
    Which of these should be delivered in one transaction: those that leave `minimum_wei` or more, if together they pay
    for the shared gas as well.
    """
    margins = [offer.profit_wei(gas_price_wei) - minimum_wei for offer in offers]
    surplus_wei = sum(margin for margin in margins if margin >= 0)
    if surplus_wei < shared_gas * gas_price_wei:
        return [False] * len(margins)
    return [margin >= 0 for margin in margins]
