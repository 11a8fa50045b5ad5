"""A request's id commits to every field, and packing loses nothing."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.errors import EncodingError, InvalidInputError, LimitExceededError
from oracle.types.request import Request

REQUESTS = st.builds(
    Request,
    chain_id=st.integers(0, 2**256 - 1),
    coprocessor=st.binary(min_size=20, max_size=20),
    consumer=st.binary(min_size=20, max_size=20),
    program_id=st.binary(min_size=32, max_size=32),
    pool_id=st.binary(min_size=32, max_size=32),
    input_hash=st.binary(min_size=32, max_size=32),
    nonce=st.integers(0, 2**64 - 1),
    created_at_s=st.integers(0, 2**64 - 1),
    deadline_s=st.integers(0, 2**32 - 1),
    callback_gas=st.integers(0, 2**24 - 1),
    max_fee_gwei=st.integers(0, 2**40 - 1),
)


@given(request_=REQUESTS)
def test_from_terms_packed_terms_gives_the_request_back(request_):
    head = (request_.chain_id, request_.coprocessor, request_.consumer)
    ids = (request_.program_id, request_.pool_id, request_.input_hash)
    assert Request.from_terms(*head, *ids, request_.terms) == request_


@given(request_=REQUESTS, data=st.data())
def test_request_id_any_field_changed_is_another_id(request_, data):
    name = data.draw(st.sampled_from([field.name for field in fields(Request)]))
    value = getattr(request_, name)
    other = value ^ 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
    assert replace(request_, **{name: other}).request_id != request_.request_id


@given(request_=REQUESTS, high=st.integers(1, 2**32 - 1))
def test_from_terms_unused_bits_set_is_refused(request_, high):
    head = (request_.chain_id, request_.coprocessor, request_.consumer)
    ids = (request_.program_id, request_.pool_id, request_.input_hash)
    with pytest.raises(EncodingError):
        Request.from_terms(*head, *ids, high << 224 | request_.terms)


@pytest.mark.parametrize(
    ("name", "bits"), [("deadline_s", 32), ("callback_gas", 24), ("max_fee_gwei", 40), ("nonce", 64)]
)
@given(request_=REQUESTS)
def test_request_value_too_wide_for_its_field_is_refused(name, bits, request_):
    with pytest.raises(LimitExceededError):
        replace(request_, **{name: 1 << bits})
    with pytest.raises(InvalidInputError):
        replace(request_, **{name: -1})
