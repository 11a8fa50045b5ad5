"""Calls are kept once, by what they are, until somebody sends them, the contract refuses them, or time passes."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.crypto.hashing import keccak256
from oracle.store.store import Store
from oracle.types.ids import Address

TO, OTHER = Address(b"\x01" * 20), Address(b"\x02" * 20)


def test_put_twice_keeps_one_call(store: Store) -> None:
    call_id = store.calls.put(TO, b"data", 1_000)
    assert call_id == store.calls.put(TO, b"data", 2_000)
    assert store.calls.get(call_id) == (TO, b"data")
    store.calls.drop_older(1_001)  # as old as when it was first made
    assert store.calls.get(call_id) is None


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from([TO, OTHER]), st.binary(max_size=64)), unique=True, min_size=1, max_size=8))
def test_put_different_calls_have_different_ids(store: Store, made: list[tuple[Address, bytes]]) -> None:
    ids = [store.calls.put(to, data, 1_000) for to, data in made]
    assert len(set(ids)) == len(made)
    assert [store.calls.get(call_id) for call_id in ids] == made
    store.calls.drop(ids[0])
    assert [store.calls.get(call_id) for call_id in ids] == [None, *made[1:]]


def test_refused_call_is_not_given_out_until_it_is_forgotten(store: Store) -> None:
    call_id = store.calls.put(TO, b"data", 1_000)
    assert store.calls.refusal(call_id) is None
    store.calls.refuse(call_id, "no")
    assert store.calls.get(call_id) is None
    assert store.calls.put(TO, b"data", 2_000) == call_id
    assert (store.calls.get(call_id), store.calls.refusal(call_id)) == (None, "no")
    store.calls.drop_older(1_000)
    assert store.calls.refusal(call_id) == "no"
    store.calls.drop_older(1_001)
    store.calls.put(TO, b"data", 3_000)
    assert (store.calls.get(call_id), store.calls.refusal(call_id)) == ((TO, b"data"), None)


def test_unknown_call_is_none(store: Store) -> None:
    unknown = keccak256(b"unknown")
    assert (store.calls.get(unknown), store.calls.refusal(unknown)) == (None, None)
    store.calls.drop(unknown)
    store.calls.refuse(unknown, "no")
