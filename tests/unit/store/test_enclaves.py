"""Which enclaves are worth using: those that the chain counts, or soon will."""

from __future__ import annotations

from dataclasses import replace

from oracle.store.rows import EnclaveState, StoredEnclave
from oracle.store.store import Store
from oracle.types.ids import Address, MeasurementId
from tests.unit.store.conftest import START

OPERATOR, SIGNER = Address(b"\x01" * 20), Address(b"\x05" * 20)


def enclave(state: EnclaveState) -> StoredEnclave:
    return StoredEnclave(SIGNER, b"\x05" * 32, MeasurementId(b"\x06" * 32), OPERATOR, state, b"quote", 10, 0, 1_000)


def test_counts_unknown_enclave_does(store: Store) -> None:
    """Its first registration may be a moment away."""
    assert store.enclaves.counts(SIGNER)


def test_counts_until_the_last_second_of_the_chains_clock(store: Store) -> None:
    store.enclaves.record_quote(enclave(EnclaveState.ATTESTED))
    store.enclaves.record_live(SIGNER, START.timestamp_s, 2_000)
    assert store.enclaves.counts(SIGNER)
    store.enclaves.record_live(SIGNER, START.timestamp_s - 1, 3_000)
    assert not store.enclaves.counts(SIGNER)


def test_counts_while_registering_until_it_is_refused(store: Store) -> None:
    for state in (EnclaveState.SUPPLYING, EnclaveState.ATTESTED, EnclaveState.SUBMITTED):
        store.enclaves.record_quote(enclave(state))
        assert store.enclaves.counts(SIGNER)
    store.enclaves.record_refusal(SIGNER, "no", 2_000)
    assert not store.enclaves.counts(SIGNER)
    store.enclaves.record_quote(enclave(EnclaveState.ATTESTED))  # tried again: perhaps in vain
    assert not store.enclaves.counts(SIGNER)
    store.enclaves.record_live(SIGNER, START.timestamp_s + 1, 2_000)
    assert store.enclaves.counts(SIGNER)


def test_counts_dead_enclave_does_not_even_while_it_attests_again(store: Store) -> None:
    store.enclaves.record_quote(enclave(EnclaveState.ATTESTED))
    store.enclaves.record_live(SIGNER, START.timestamp_s + 1, 2_000)
    store.enclaves.record_dead(SIGNER, "revoked")
    assert not store.enclaves.counts(SIGNER)
    store.enclaves.record_quote(enclave(EnclaveState.SUPPLYING))
    assert not store.enclaves.counts(SIGNER)


def test_counts_through_a_renewal_and_its_refusal(store: Store) -> None:
    store.enclaves.record_quote(enclave(EnclaveState.ATTESTED))
    store.enclaves.record_live(SIGNER, START.timestamp_s + 1, 2_000)
    store.enclaves.record_quote(enclave(EnclaveState.ATTESTED))
    assert store.enclaves.counts(SIGNER)
    store.enclaves.record_refusal(SIGNER, "r" * 1_000, 2_000)
    found = store.enclaves.get(SIGNER)
    assert found is not None
    assert (found.state, found.refusal, found.refused_at_ms) == (EnclaveState.LIVE, "r" * 500, 2_000)
    assert store.enclaves.counts(SIGNER)


def test_may_deliver_once_the_registration_is_sent_and_until_it_ends(store: Store) -> None:
    assert store.enclaves.may_deliver(SIGNER)  # nothing is known of it
    for state in (EnclaveState.SUPPLYING, EnclaveState.ATTESTED):
        store.enclaves.record_quote(enclave(state))
        assert not store.enclaves.may_deliver(SIGNER)
    store.enclaves.record_quote(enclave(EnclaveState.SUBMITTED))
    assert store.enclaves.may_deliver(SIGNER)
    store.enclaves.record_live(SIGNER, START.timestamp_s, 2_000)
    store.enclaves.record_quote(enclave(EnclaveState.ATTESTED))  # renewed while it counts
    assert store.enclaves.may_deliver(SIGNER)
    store.enclaves.record_dead(SIGNER, "revoked")
    assert not store.enclaves.may_deliver(SIGNER)


def test_attested_and_newest_read_no_more_than_asked_for(store: Store) -> None:
    made = [
        replace(enclave(EnclaveState.ATTESTED), signer=Address(bytes([number]) * 20), seen_at_ms=number)
        for number in range(1, 6)
    ]
    for each in made:
        store.enclaves.record_quote(each)
    store.enclaves.record_live(made[0].signer, START.timestamp_s, 9)
    assert store.enclaves.attested(3) == [each.signer for each in made[1:4]]
    assert [each.signer for each in store.enclaves.newest(2)] == [made[0].signer, made[4].signer]
    assert (store.enclaves.is_any_live(9), store.enclaves.is_any_live(10)) == (True, False)
