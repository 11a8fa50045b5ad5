"""Our transactions are byte for byte those of eth-account, and gas limits are enough."""

from __future__ import annotations

from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.chain.gas import MAX_TRANSACTION_GAS, FeePolicy, calldata_gas, settlement_gas
from oracle.chain.signing import fill, rlp, sign, sign_again
from oracle.crypto.ecdsa import SigningKey
from oracle.types.ids import Address
from oracle.types.transaction import Fees, TransactionKind

KEY = SigningKey(b"\x2a" * 32)


@settings(max_examples=60, deadline=None)
@given(
    nonce=st.integers(0, 2**64 - 2),
    tip=st.integers(0, 2**80),
    more=st.integers(0, 2**80),
    gas=st.integers(21_000, 2**24),
    value=st.integers(0, 2**90),
    to=st.one_of(st.binary(min_size=20, max_size=20), st.just(b"")),
    data=st.binary(max_size=300),
    chain_id=st.integers(1, 2**53),
)
def test_sign_any_transaction_equals_eth_account(
    nonce: int, tip: int, more: int, gas: int, value: int, to: bytes, data: bytes, chain_id: int
) -> None:
    fees = Fees(tip + more, tip)
    ours = sign(KEY, chain_id, nonce, TransactionKind.FULFILL, (), Address(to), data, gas, fees, value_wei=value)
    theirs = Account.from_key(KEY.secret).sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "maxFeePerGas": fees.max_fee_per_gas,
            "maxPriorityFeePerGas": fees.max_priority_fee_per_gas,
            "gas": gas,
            "to": to,
            "value": value,
            "data": data,
        }
    )
    assert ours.raw == bytes(theirs.raw_transaction)
    assert ours.hash == bytes(theirs.hash)


def test_rlp_vectors_of_the_yellow_paper() -> None:
    assert rlp(b"dog") == b"\x83dog"
    assert rlp([b"cat", b"dog"]) == b"\xc8\x83cat\x83dog"
    assert rlp(0) == rlp(b"") == b"\x80"
    assert rlp(1024) == b"\x82\x04\x00"
    assert rlp(b"x" * 56)[:2] == b"\xb8\x38"
    assert rlp([]) == b"\xc0"


def test_replacements_keep_the_nonce() -> None:
    first = sign(KEY, 1, 7, TransactionKind.FULFILL, (b"a",), Address(b"\x01" * 20), b"x", 50_000, Fees(10, 1))
    again, filled = sign_again(KEY, 1, first, Fees(20, 2)), fill(KEY, 1, first, Fees(20, 2))
    assert (again.nonce, again.data, again.subjects) == (7, b"x", (b"a",))
    assert (filled.nonce, filled.data, filled.to, filled.kind) == (7, b"", KEY.address, TransactionKind.FILL)


@given(base=st.integers(1, 10**12), tip=st.integers(0, 10**11), cap=st.integers(1, 10**12), rounds=st.integers(1, 40))
def test_fees_never_exceed_the_cap_and_bumps_are_accepted(base: int, tip: int, cap: int, rounds: int) -> None:
    policy = FeePolicy(cap, min(tip, cap))
    fees = policy.fees(base)
    if fees is None:
        assert base + 1 > cap
        return
    assert max(base, fees.max_priority_fee_per_gas) <= fees.max_fee_per_gas <= cap
    for _ in range(rounds):
        bumped = policy.bumped(fees, base)
        if bumped is None:
            return
        assert bumped.max_fee_per_gas <= cap
        assert bumped.max_fee_per_gas * 10 >= fees.max_fee_per_gas * 11
        assert bumped.max_priority_fee_per_gas * 10 >= fees.max_priority_fee_per_gas * 11
        assert bumped.max_priority_fee_per_gas <= bumped.max_fee_per_gas
        fees = bumped


@given(data=st.binary(max_size=2_000), gas=st.integers(0, 10_000_000))
def test_settlement_gas_covers_calldata_and_the_64th(data: bytes, gas: int) -> None:
    limit = settlement_gas(data, [gas])
    assert min(MAX_TRANSACTION_GAS, calldata_gas(data) + gas + gas // 63) <= limit <= MAX_TRANSACTION_GAS
