"""Who owns a relay account, what becomes of a lost one, and how submitters share a backlog. On both databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.store.errors import AccountLostError, ConflictError, RowTakenError
from oracle.store.rows import Identity, RequestState
from oracle.store.store import Store
from oracle.types.ids import Address, RequestId
from oracle.types.transaction import TransactionKind
from tests.fakes import a_request
from tests.unit.store.conftest import START
from tests.unit.store.test_requests import RELAY, opened, receipt, state, submitted, transaction

OTHER = Address(b"\x78" * 20)


def executed(store: Store, count: int) -> list[RequestId]:
    ids = opened(store, count)
    for position, request_id in enumerate(ids):
        assert store.requests.record_receipt(receipt(request_id), 2_000 + position)
    return ids


def taken(store: Store, first: RequestId, holder: str, now_ms: int = 10_000, limit: int = 100) -> list[RequestId]:
    return [s.request_id for s, _ in store.outbox.take(first, holder, now_ms, now_ms + 1_000, limit)]


def test_hold_while_the_lease_lasts_nobody_else_gets_the_account(store: Store) -> None:
    """P11."""
    assert store.journal.hold(RELAY, "a", 1_000, 2_000)
    assert not store.journal.hold(RELAY, "b", 1_999, 3_000)
    assert store.journal.hold(RELAY, "a", 1_999, 2_999)  # renewed
    assert not store.journal.hold(RELAY, "b", 2_500, 3_500)
    assert store.journal.hold(RELAY, "b", 2_999, 4_000)
    assert store.journal.owner(RELAY) == "b"


def test_hold_after_let_go_is_had_at_once(store: Store) -> None:
    assert store.journal.hold(RELAY, "a", 1_000, 99_000)
    store.journal.let_go(RELAY, "b")
    assert not store.journal.hold(RELAY, "b", 1_001, 2_000)
    store.journal.let_go(RELAY, "a")
    assert store.journal.hold(RELAY, "b", 1_001, 2_000)


def test_record_replace_and_fill_by_a_former_owner_write_nothing(store: Store) -> None:
    """P11: whatever its clock says."""
    (request_id,) = executed(store, 1)
    store.journal.hold(RELAY, "a", 1_000, 2_000)
    store.journal.record(transaction(0, kind=TransactionKind.EXPIRE), 1_000, "a")
    store.journal.hold(RELAY, "b", 2_000, 3_000)
    for attempt in (store.journal.record, store.journal.fill):
        with pytest.raises(AccountLostError):
            attempt(transaction(1, request_id), 1_000, "a")
    with pytest.raises(AccountLostError):
        store.journal.replace(transaction(0), 1_000, "a")
    assert state(store, request_id) is RequestState.EXECUTED
    assert store.journal.next_nonce(RELAY, 0) == 1
    assert [len(sent.hashes) for sent in store.journal.sent(RELAY)] == [1]


def test_hold_many_at_once_exactly_one_wins(store: Store) -> None:
    barrier = threading.Barrier(6)

    def contend(number: int) -> bool:
        barrier.wait()
        return store.journal.hold(RELAY, str(number), 1_000, 2_000)

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(contend, range(6))) == [False] * 5 + [True]


def test_fill_of_a_nonce_that_is_ours_is_refused(store: Store) -> None:
    submitted(store)
    with pytest.raises(RowTakenError):
        store.journal.fill(transaction(0, kind=TransactionKind.FILL), 3_000)


def test_abandon_gives_back_what_an_ownerless_account_carries_once(store: Store) -> None:
    """P12."""
    (request_id,) = executed(store, 1)
    store.journal.hold(RELAY, "a", 1_000, 5_000)
    store.journal.record(transaction(0, request_id), 3_000, "a")
    assert store.journal.ownerless(4_999) == []
    assert not store.journal.abandon(RELAY, 0, 4_999)
    assert store.journal.ownerless(5_000) == [RELAY]
    assert store.journal.abandon(RELAY, 0, 5_000)
    assert not store.journal.abandon(RELAY, 0, 5_000)
    assert state(store, request_id) is RequestState.EXECUTED
    assert store.journal.ownerless(5_000) == []
    (sent,) = store.journal.sent(RELAY)  # its nonce is still to be filled by whoever owns it next
    assert sent.is_moot
    assert store.journal.next_nonce(RELAY, 0) == 1


def test_abandoned_transaction_that_is_mined_after_all_takes_nothing_from_its_successor(store: Store) -> None:
    """P12."""
    (request_id,) = executed(store, 1)
    store.journal.next_nonce(RELAY, 0)
    store.journal.record(transaction(0, request_id), 3_000)
    store.journal.abandon(RELAY, 0, 5_000)
    store.journal.next_nonce(OTHER, 0)
    second = replace(transaction(0, request_id), account=OTHER, hash=b"\x02" * 32, raw=b"second")
    store.journal.record(second, 6_000)
    store.journal.conclude(RELAY, 0, b"\x01" * 32, 12, succeeded=False)
    stored = store.requests.get(request_id)
    assert stored is not None
    assert (stored.state, stored.sent_account) == (RequestState.SUBMITTED, OTHER)


def test_take_two_submitters_never_hold_the_same(store: Store) -> None:
    """P13."""
    ids = executed(store, 6)
    assert taken(store, ids[4], "a", limit=3) == [ids[4], ids[0], ids[1]]
    assert taken(store, ids[0], "b") == []
    assert taken(store, ids[3], "b") == [ids[3], ids[2], ids[5]]
    store.outbox.release(ids, "a")
    assert taken(store, ids[0], "b", limit=2) == [ids[0], ids[1]]


def test_take_what_a_killed_submitter_held_is_free_when_its_time_is_over(store: Store) -> None:
    """P13; and at once for the same account, started again."""
    ids = executed(store, 2)
    assert taken(store, ids[0], "a", now_ms=10_000) == ids
    assert taken(store, ids[0], "b", now_ms=10_999) == []
    assert taken(store, ids[1], "a", now_ms=10_999) == [ids[1], ids[0]]
    assert taken(store, ids[0], "b", now_ms=12_000) == ids


def test_take_goes_with_receipts_of_the_same_enclave_and_payee_only(store: Store) -> None:
    ids = opened(store, 3)
    mine = receipt(ids[1])
    store.requests.record_receipt(receipt(ids[0]), 1)
    store.requests.record_receipt(replace(mine, signer=Address(b"\x56" * 20)), 2)
    store.requests.record_receipt(
        replace(receipt(ids[2]), receipt=replace(mine.receipt, request_id=ids[2], payee=OTHER)), 3
    )
    assert taken(store, ids[0], "a") == [ids[0]]
    ((stored, found),) = store.outbox.take(ids[1], "a", 10_000, 11_000, 10)
    assert found == store.requests.receipt(ids[1])
    assert stored == store.requests.get(ids[1])


def test_postponed_waits_for_its_time_unless_it_is_asked_for(store: Store) -> None:
    ids = executed(store, 2)
    taken(store, ids[0], "a")
    store.outbox.release(ids, "a")
    store.outbox.postpone(ids[1], 20_000, "too dear")
    assert taken(store, ids[0], "a", now_ms=19_999) == [ids[0]]
    assert store.requests.take_due(19_999, 5_000, 10) == {ids[0]: RequestState.EXECUTED}
    assert store.requests.take_due(20_000, 5_000, 10) == {ids[1]: RequestState.EXECUTED}
    assert taken(store, ids[1], "b", now_ms=19_999) == [ids[1]]
    stored = store.requests.get(ids[1])
    assert stored is not None
    assert (stored.reason, stored.attempts) == ("too dear", 1)


def test_record_of_what_another_has_submitted_meanwhile_writes_nothing(store: Store) -> None:
    """P2: holding is politeness, the compare-and-set decides."""
    ids = executed(store, 3)
    for account in (RELAY, OTHER):
        store.journal.next_nonce(account, 0)
    store.journal.record(transaction(0, ids[1]), 3_000)
    other = replace(transaction(0, *ids), account=OTHER, hash=b"\x02" * 32, raw=b"other")
    with pytest.raises(ConflictError):
        store.journal.record(other, 3_000)
    assert [state(store, request_id) for request_id in ids] == [
        RequestState.EXECUTED,
        RequestState.SUBMITTED,
        RequestState.EXECUTED,
    ]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from(["take", "send", "release", "die", "wait"]), st.integers(0, 7)
        ),
        max_size=40,
    )
)
def test_any_interleaving_no_request_is_carried_twice(
    steps: list[tuple[str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """P2, P13."""
    accounts = {"a": RELAY, "b": OTHER}
    directory = tmp_path_factory.mktemp("outbox")
    with Store.open(f"sqlite:///{directory}/pool.sqlite", create=True) as store:
        store.chain.adopt(Identity(31337, a_request().coprocessor, START))
        ids, now_ms, nonces = executed(store, 8), 10_000, {"a": 0, "b": 0}
        held: dict[str, list[RequestId]] = {"a": [], "b": []}
        until = {"a": 0, "b": 0}
        for account in accounts.values():
            store.journal.next_nonce(account, 0)
        for who, step, number in steps:
            match step:
                case "take":
                    held[who], until[who] = taken(store, ids[number], who, now_ms, 3), now_ms + 1_000
                case "send" if held[who]:
                    raw = b"%s%d" % (who.encode(), nonces[who])
                    made = replace(
                        transaction(nonces[who], *held[who]), account=accounts[who], raw=raw, hash=raw.ljust(32)
                    )
                    try:
                        store.journal.record(made, now_ms)
                    except ConflictError:
                        assert now_ms >= until[who]  # only who held for too long loses
                    else:
                        nonces[who] += 1
                    held[who] = []
                case "release":
                    store.outbox.release(held[who], who)
                    held[who] = []
                case "die":
                    held[who] = []
                case _:
                    now_ms += 300
        carried = [
            subject
            for account in accounts.values()
            for s in store.journal.sent(account)
            for subject in s.newest.subjects
        ]
        assert len(carried) == len(set(carried))
