"""EXECUTED -> PENDING: what becomes of receipts whose enclave is gone, on both databases."""

from __future__ import annotations

from dataclasses import replace

from oracle.store.requests import GONE_AFTER_MS, UNKNOWN_AFTER_MS
from oracle.store.rows import EnclaveState, RequestState, StoredEnclave
from oracle.store.store import Store
from oracle.types.ids import MeasurementId
from tests.fakes import a_request
from tests.unit.store.conftest import START
from tests.unit.store.test_requests import RELAY, SIGNER, block, executed, receipt, settled, state, submitted


def an_enclave(state: EnclaveState) -> StoredEnclave:
    return StoredEnclave(SIGNER, b"\x05" * 32, MeasurementId(b"\x06" * 32), RELAY, state, b"quote", 10, 0, 2_000)


def test_execute_again_receipt_of_a_dead_enclave_is_dropped_and_another_takes_its_place(store: Store) -> None:
    """P1."""
    request_id = executed(store)
    store.enclaves.record_quote(an_enclave(EnclaveState.DEAD))
    store.enclaves.record_refusal(SIGNER, "refused", 2_500)
    assert store.requests.execute_again(3_000, 0, 10) == [request_id]
    assert store.requests.execute_again(3_000, 0, 10) == []
    assert state(store, request_id) is RequestState.PENDING
    assert store.requests.receipt(request_id) is None
    assert [taken.request_id for taken in store.turns.take("worker", 1, 3_000, 1_000)] == [request_id]
    again = replace(receipt(request_id), signature=b"\x02" * 64)
    assert store.requests.record_receipt(again, 4_000)
    assert store.requests.receipt(request_id) == again


def test_execute_again_leaves_what_may_still_be_accepted(store: Store) -> None:
    request_id = executed(store)
    assert store.requests.execute_again(2_000 + UNKNOWN_AFTER_MS - 1, 0, 10) == []  # known a moment later
    for waiting in (EnclaveState.SUPPLYING, EnclaveState.ATTESTED, EnclaveState.SUBMITTED):
        store.enclaves.record_quote(an_enclave(waiting))
        assert store.requests.execute_again(2_000 + GONE_AFTER_MS - 1, 0, 10) == []
    store.enclaves.record_live(SIGNER, START.timestamp_s + 10_000, 3_000)
    assert store.requests.execute_again(2 * GONE_AFTER_MS, 0, 10) == []
    store.enclaves.record_dead(SIGNER, "revoked")
    assert store.requests.execute_again(3_000, a_request().deadline_s + 1, 10) == []  # too late for another
    store.outbox.take(request_id, "relay", 3_000, 4_000, 1)
    assert store.requests.execute_again(3_999, 0, 10) == []  # being sent
    assert store.requests.execute_again(4_000, 0, 10) == [request_id]


def test_execute_again_enclave_that_ended_before_anything_was_known_of_it(store: Store) -> None:
    request_id = executed(store)
    assert store.requests.execute_again(2_000 + UNKNOWN_AFTER_MS, 0, 10) == [request_id]


def test_execute_again_enclave_that_ended_while_it_waited_for_collateral(store: Store) -> None:
    request_id = executed(store)
    store.enclaves.record_quote(an_enclave(EnclaveState.SUPPLYING))
    assert store.requests.execute_again(2_000 + GONE_AFTER_MS, 0, 10) == [request_id]


def test_execute_again_submitted_request_stays_with_its_transaction(store: Store) -> None:
    request_id = submitted(store)
    assert store.requests.execute_again(10**9, 0, 10) == []
    assert state(store, request_id) is RequestState.SUBMITTED


def test_execute_again_then_settled_and_reorganised_is_pending_without_a_receipt(store: Store) -> None:
    """P5."""
    request_id = executed(store)
    store.requests.execute_again(2_000 + UNKNOWN_AFTER_MS, 0, 10)
    store.chain.advance(block(11), block(12), [settled(request_id, 12)], 1_000, 6_000)
    store.chain.rewind(block(12), block(11))
    assert state(store, request_id) is RequestState.FAILED
    assert list(store.requests.take_due(10**6, 0, 10).values()) == [RequestState.PENDING]
