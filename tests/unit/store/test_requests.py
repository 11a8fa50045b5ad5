"""The state machine of a request, on both databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from oracle.crypto.hashing import keccak256
from oracle.errors import ChainMismatchError
from oracle.store.errors import ConflictError, CursorMovedError, NonceTakenError
from oracle.store.rows import EnclaveState, Identity, RequestState, StoredEnclave, StoredReceipt
from oracle.store.store import Store
from oracle.types.block import BlockRef, Created, Event, Expired, Settled
from oracle.types.ids import Address, MeasurementId, RequestId
from oracle.types.receipt import Outcome, Receipt
from oracle.types.transaction import Fees, SignedTransaction, TransactionKind
from tests.fakes import a_request
from tests.unit.store.conftest import START

RELAY = Address(b"\x77" * 20)
SIGNER = Address(b"\x55" * 20)


def block(number: int, branch: int = 0) -> BlockRef:
    return BlockRef(number, keccak256(b"%d/%d" % (number, branch)), 1_700_000_000 + number)


def created(number: int, at: int = 11) -> Created:
    return Created(a_request(number), b"input", at, b"\x99" * 32)


def settled(request_id: RequestId, at: int) -> Settled:
    return Settled(request_id, RELAY, Outcome.COMPLETED, True, 7, 10**20, at, b"\x98" * 32)


def receipt(request_id: RequestId) -> StoredReceipt:
    made = Receipt(request_id, Outcome.COMPLETED, keccak256(b"output"), 7, RELAY)
    return StoredReceipt(made, b"output", SIGNER, b"\x01" * 64, b"logs")


def transaction(nonce: int, *subjects: bytes, kind: TransactionKind = TransactionKind.FULFILL) -> SignedTransaction:
    raw = b"raw%d%s" % (nonce, kind.value.encode())
    return SignedTransaction(
        RELAY, nonce, kind, subjects, RELAY, b"data", 100_000, Fees(2**70, 10**9), raw, keccak256(raw)
    )


def opened(store: Store, count: int = 1) -> list[RequestId]:
    """This many requests, PENDING, in block 11."""
    return store.chain.advance(START, block(11), [created(number) for number in range(count)], 1_000, 6_000)


def state(store: Store, request_id: RequestId) -> RequestState:
    found = store.requests.get(request_id)
    assert found is not None
    return found.state


def executed(store: Store) -> RequestId:
    (request_id,) = opened(store)
    assert store.requests.record_receipt(receipt(request_id), 2_000)
    return request_id


def submitted(store: Store, nonce: int = 0) -> RequestId:
    request_id = executed(store)
    store.journal.next_nonce(RELAY, nonce)
    store.journal.record(transaction(nonce, request_id), 3_000)
    return request_id


def test_advance_new_requests_are_pending_with_their_input(store: Store) -> None:
    ids = opened(store, 3)
    assert ids == [a_request(number).request_id for number in range(3)]
    stored = store.requests.get(ids[1])
    assert stored is not None
    assert (stored.request, stored.state, stored.block_number) == (a_request(1), RequestState.PENDING, 11)
    assert store.requests.input(ids[1]) == b"input"
    assert store.chain.cursor() == block(11)


def test_advance_same_request_again_is_not_new(store: Store) -> None:
    opened(store)
    assert store.chain.advance(block(11), block(12), [created(0, 12)], 1_000, 6_000) == []
    assert store.requests.counts()[RequestState.PENDING] == 1


def test_advance_from_a_moved_cursor_writes_nothing(store: Store) -> None:
    """P4: of two watchers one wins."""
    opened(store)
    with pytest.raises(CursorMovedError):
        store.chain.advance(START, block(11, branch=1), [created(5)], 1_000, 6_000)
    assert store.requests.get(a_request(5).request_id) is None
    assert store.chain.cursor() == block(11)


def test_advance_request_that_ends_in_the_same_span_is_not_woken(store: Store) -> None:
    request_id = a_request(0).request_id
    assert store.chain.advance(START, block(11), [created(0), settled(request_id, 11)], 1_000, 6_000) == []
    assert state(store, request_id) is RequestState.SETTLED


def test_record_receipt_second_receipt_is_dropped(store: Store) -> None:
    request_id = executed(store)
    assert not store.requests.record_receipt(receipt(request_id), 2_000)
    assert state(store, request_id) is RequestState.EXECUTED
    assert store.requests.receipt(request_id) == receipt(request_id)


def test_fail_keeps_the_reason_and_sweep_tries_again(store: Store) -> None:
    (request_id,) = opened(store)
    assert store.requests.fail(request_id, "no such program")
    stored = store.requests.get(request_id)
    assert stored is not None
    assert (stored.state, stored.reason, stored.attempts) == (RequestState.FAILED, "no such program", 1)
    assert store.requests.take_due(5_999, 5_000, 10) == {}
    assert store.requests.take_due(6_000, 5_000, 10) == {request_id: RequestState.PENDING}
    assert state(store, request_id) is RequestState.PENDING


def test_take_due_backs_off_with_every_attempt(store: Store) -> None:
    (request_id,) = opened(store)
    waits, now_ms = [], 6_000
    for _ in range(6):
        store.requests.note(request_id, "away")
        assert request_id in store.requests.take_due(now_ms, 1_000, 10)
        assert store.requests.take_due(now_ms, 1_000, 10) == {}
        due = next(after for after in range(1_000, 70_000, 1_000) if _is_due(store, now_ms + after))
        waits.append(due)
        now_ms += due
    assert waits == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000]


def _is_due(store: Store, now_ms: int) -> bool:
    from sqlalchemy import select  # noqa: PLC0415  # the one look behind the interface

    from oracle.store.schema import requests  # noqa: PLC0415

    with store.database.read() as connection:
        return bool(connection.execute(select(requests.c.due_at_ms).where(requests.c.due_at_ms <= now_ms)).first())


def test_take_due_leaves_expired_requests_to_expiry(store: Store) -> None:
    late = a_request(0, deadline_s=START.timestamp_s - 1)
    store.chain.advance(START, block(11), [Created(late, b"input", 11, b"\x99" * 32)], 1_000, 2_000)
    assert store.requests.take_due(10_000, 1_000, 10) == {}
    assert store.requests.take_expirable(START.timestamp_s, 10_000, 1_000, 10) == [late.request_id]
    assert store.requests.take_expirable(START.timestamp_s, 10_000, 1_000, 10) == []


def test_record_transaction_takes_nonce_and_submits_its_requests(store: Store) -> None:
    """P2: nonce, transaction and state are one commit."""
    request_id = submitted(store)
    stored = store.requests.get(request_id)
    assert stored is not None
    assert (stored.state, stored.sent_account, stored.sent_nonce) == (RequestState.SUBMITTED, RELAY, 0)
    assert store.journal.next_nonce(RELAY, 0) == 1
    (sent,) = store.journal.sent(RELAY)
    assert sent.newest == transaction(0, request_id)
    assert sent.hashes == (sent.newest.hash,)


def test_record_transaction_taken_nonce_is_refused(store: Store) -> None:
    submitted(store)
    with pytest.raises(NonceTakenError):
        store.journal.record(transaction(0, kind=TransactionKind.EXPIRE), 3_000)


def test_record_transaction_for_a_request_not_executed_takes_no_nonce(store: Store) -> None:
    """P3: a nonce is never taken for nothing, so there are no gaps."""
    (request_id,) = opened(store)
    store.journal.next_nonce(RELAY, 0)
    with pytest.raises(ConflictError):
        store.journal.record(transaction(0, request_id), 3_000)
    assert store.journal.next_nonce(RELAY, 0) == 0
    assert store.journal.sent(RELAY) == []
    assert state(store, request_id) is RequestState.PENDING


def test_next_nonce_follows_the_chain_upwards_only(store: Store) -> None:
    assert store.journal.next_nonce(RELAY, 5) == 5
    assert store.journal.next_nonce(RELAY, 9) == 9
    assert store.journal.next_nonce(RELAY, 2) == 9


def test_conclude_reverted_transaction_gives_its_request_back(store: Store) -> None:
    request_id = submitted(store)
    store.journal.conclude(RELAY, 0, b"\x01" * 32, 12, succeeded=False)
    assert state(store, request_id) is RequestState.EXECUTED
    assert store.journal.sent(RELAY) == []


def test_conclude_mined_transaction_waits_for_the_event(store: Store) -> None:
    request_id = submitted(store)
    store.journal.conclude(RELAY, 0, b"\x01" * 32, 12, succeeded=True)
    assert state(store, request_id) is RequestState.SUBMITTED
    assert store.requests.release_skipped() == []  # the watcher has not read block 12
    store.chain.advance(block(11), block(12), [], 4_000, 9_000)
    assert store.requests.release_skipped() == [request_id]  # it has, and there was no event
    assert state(store, request_id) is RequestState.EXECUTED


def test_reopen_mined_transaction_is_in_flight_again(store: Store) -> None:
    submitted(store)
    store.journal.conclude(RELAY, 0, b"\x01" * 32, 12, succeeded=True)
    assert [sent.newest.nonce for sent in store.journal.mined_since(RELAY, 0)] == [0]
    assert store.journal.mined_since(RELAY, 1) == []
    store.journal.reopen(RELAY, 0)
    assert len(store.journal.sent(RELAY)) == 1


def test_replace_keeps_every_version(store: Store) -> None:
    request_id = submitted(store)
    other = transaction(0, request_id, kind=TransactionKind.FILL)
    assert store.journal.replace(other, 4_000)
    (sent,) = store.journal.sent(RELAY)
    assert (sent.newest.raw, sent.hashes) == (other.raw, (transaction(0, request_id).hash, other.hash))
    store.journal.conclude(RELAY, 0, other.hash, 12, succeeded=True)
    assert not store.journal.replace(transaction(0, kind=TransactionKind.EXPIRE), 5_000)


def test_sent_transaction_of_an_ended_request_is_moot(store: Store) -> None:
    request_id = submitted(store)
    assert not store.journal.sent(RELAY)[0].is_moot
    store.chain.advance(block(11), block(12), [settled(request_id, 12)], 4_000, 9_000)
    assert store.journal.sent(RELAY)[0].is_moot


def test_settled_from_any_open_state_and_only_once(store: Store) -> None:
    ids = opened(store, 2)
    events: list[Event] = [
        settled(ids[0], 12),
        Expired(ids[1], False, 12, b"\x97" * 32),
        Expired(ids[0], False, 12, b"\x96" * 32),
    ]
    store.chain.advance(block(11), block(12), events, 2_000, 7_000)
    stored = store.requests.get(ids[0])
    assert stored is not None
    assert (stored.state, stored.fee_wei, stored.payee, stored.ended_hash) == (
        RequestState.SETTLED,
        10**20,
        RELAY,
        b"\x98" * 32,
    )
    assert state(store, ids[1]) is RequestState.EXPIRED


def test_rewind_undoes_what_came_after_the_ancestor(store: Store) -> None:
    """P5."""
    pending, waiting, sent = opened(store, 3)
    for request_id in (waiting, sent):
        store.requests.record_receipt(receipt(request_id), 2_000)
    store.journal.next_nonce(RELAY, 0)
    store.journal.record(transaction(0, sent), 3_000)
    ends: list[Event] = [settled(request_id, 12) for request_id in (pending, waiting, sent)]
    store.chain.advance(block(11), block(12), [*ends, created(9, 12)], 4_000, 9_000)
    store.chain.rewind(block(12), block(11))
    assert [state(store, i) for i in (pending, waiting, sent)] == [
        RequestState.PENDING,
        RequestState.EXECUTED,
        RequestState.SUBMITTED,
    ]
    orphan = store.requests.get(a_request(9).request_id)
    assert orphan is not None
    assert orphan.block_number is None
    assert orphan.request_id not in store.requests.take_due(10**6, 1_000, 10)
    assert store.chain.cursor() == block(11)
    again = store.chain.advance(block(11), block(12, branch=1), [created(9, 12)], 5_000, 9_000)
    assert again == [orphan.request_id]


def test_tail_keeps_the_start_block_for_ever(store: Store) -> None:
    cursor = START
    for number in range(11, 320):
        store.chain.advance(cursor, block(number), [], 0, 0)
        cursor = block(number)
    tail = store.chain.tail()
    assert (tail[0], tail[-1]) == (block(319), START)
    assert len(tail) <= 260


def test_adopt_another_chain_or_history_is_refused(store: Store) -> None:
    same = Identity(31337, a_request().coprocessor, START)
    store.chain.adopt(same)
    assert store.chain.identity() == same
    with pytest.raises(ChainMismatchError, match="another data_dir"):
        store.chain.adopt(Identity(1, same.coprocessor, START))
    with pytest.raises(ChainMismatchError, match="restarted"):
        store.chain.adopt(Identity(31337, same.coprocessor, block(10, branch=7)))


def test_enclave_quote_registration_and_death(store: Store) -> None:
    enclave = StoredEnclave(
        SIGNER, b"\x05" * 32, MeasurementId(b"\x06" * 32), RELAY, EnclaveState.ATTESTED, b"quote", 10, 0, 1_000
    )
    store.enclaves.record_quote(enclave)
    store.journal.next_nonce(RELAY, 0)
    store.journal.record(transaction(0, SIGNER, kind=TransactionKind.REGISTER), 2_000)
    assert store.journal.is_in_flight(TransactionKind.REGISTER, SIGNER)
    with pytest.raises(ConflictError):
        store.journal.record(transaction(1, SIGNER, kind=TransactionKind.REGISTER), 2_000)
    assert store.enclaves.record_live(SIGNER, 2_000_000_000, 3_000)
    store.enclaves.record_quote(enclave)
    found = store.enclaves.get(SIGNER)
    assert found is not None
    assert (found.state, found.live_until_s) == (EnclaveState.ATTESTED, 2_000_000_000)
    assert store.enclaves.record_dead(SIGNER, "revoked")
    assert [e.state for e in store.enclaves.newest()] == [EnclaveState.ATTESTED]  # a renewal goes on
    assert store.enclaves.record_live(SIGNER, 2_000_000_000, 3_000)
    assert store.enclaves.record_dead(SIGNER, "revoked")
    assert [e.state for e in store.enclaves.newest()] == [EnclaveState.DEAD]


def test_transitions_race_exactly_one_wins(store: Store) -> None:
    (request_id,) = opened(store)
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda _: store.requests.record_receipt(receipt(request_id), 2_000), range(16)))
    assert sum(won) == 1


def test_advance_two_watchers_race_exactly_one_wins_each_step(store: Store) -> None:
    """P4."""

    def watch(_: int) -> int:
        won = 0
        while (cursor := store.chain.cursor()).number < 40:
            try:
                store.chain.advance(cursor, block(cursor.number + 1), [created(cursor.number, cursor.number + 1)], 0, 0)
                won += 1
            except CursorMovedError:
                continue
        return won

    with ThreadPoolExecutor(3) as threads:
        assert sum(threads.map(watch, range(3))) == 30
    assert store.requests.counts()[RequestState.PENDING] == 30


def test_take_due_racing_the_end_never_undoes_it(store: Store) -> None:
    """P1: sweepers of other hosts read an open request, then its end is stored, then they write."""
    ids = opened(store, 40)
    done = threading.Event()

    def sweep(_: int) -> None:
        now_ms = 10_000
        while not done.is_set():
            store.requests.take_due(now_ms, 1, 100)
            now_ms += 100_000

    with ThreadPoolExecutor(3) as threads:
        sweeps = [threads.submit(sweep, number) for number in range(3)]
        for number, request_id in enumerate(ids):
            store.chain.advance(block(11 + number), block(12 + number), [settled(request_id, 12 + number)], 0, 0)
        done.set()
        for swept in sweeps:
            swept.result()
    assert store.requests.counts()[RequestState.SETTLED] == len(ids)
