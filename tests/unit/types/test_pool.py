"""Prices never charge more than was escrowed, and the fuel that a fee affords never costs more than it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.errors import EncodingError, LimitExceededError
from oracle.types.pool import Pool

PRICES = st.integers(0, 2**32 - 1)
POOLS = st.builds(Pool, st.binary(min_size=20, max_size=20), PRICES, PRICES, PRICES)
FEES_WEI = st.integers(0, 2**40 - 1).map(lambda gwei: gwei * 10**9)


@given(pool=POOLS)
def test_from_id_packed_id_gives_the_pool_back(pool):
    assert Pool.from_id(pool.pool_id) == pool


@given(pool=POOLS, callback_gas=st.integers(0, 2**24 - 1), fuel=st.integers(0, 2**64 - 1), max_fee=FEES_WEI)
def test_fee_any_fuel_and_output_is_at_most_the_escrow(pool, callback_gas, fuel, max_fee):
    assert 0 <= pool.fee_wei(callback_gas, fuel, 64, max_fee) <= max_fee
    assert pool.cost_wei(callback_gas, fuel, 64) == pool.cost_wei(callback_gas + 64 * 40, fuel, 0)


@given(pool=POOLS, callback_gas=st.integers(0, 2**24 - 1), max_fee=FEES_WEI)
def test_affordable_fuel_costs_at_most_what_is_left_after_the_floor(pool, callback_gas, max_fee):
    fuel = pool.affordable_fuel(callback_gas, max_fee)
    if max_fee < pool.floor_wei(callback_gas):
        assert fuel == 0 or pool.fuel_price_wei_per_1000 == 0
    else:
        unlimited = pool.cost_wei(callback_gas, fuel, 0)
        assert unlimited <= max_fee


@pytest.mark.parametrize("pool_id", [b"", b"\0" * 31, b"\0" * 33])
def test_from_id_wrong_length_is_refused(pool_id):
    with pytest.raises(EncodingError):
        Pool.from_id(pool_id)


def test_pool_price_too_wide_is_refused():
    with pytest.raises(LimitExceededError):
        Pool(bytes(20), 1 << 32, 0, 0)
