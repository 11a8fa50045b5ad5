"""The submitter against a node that is deaf, away or reorganises, with a real store behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.chain.errors import AccountHeldError, FeeTooHighError, RelayUnfundedError, RevertedError
from oracle.chain.gas import FeePolicy
from oracle.chain.submitter import Submitter
from oracle.crypto.ecdsa import SigningKey
from oracle.errors import RetryableError
from oracle.store.errors import AccountLostError, ConflictError
from oracle.store.rows import Identity, RequestState
from oracle.store.store import Store
from oracle.types.block import BlockRef, Created, Settled
from oracle.types.ids import Address, RequestId
from oracle.types.receipt import Outcome
from oracle.types.transaction import TransactionKind
from tests.fakes import FakeNode, a_request
from tests.unit.store.test_requests import receipt

START = BlockRef(10, b"\x10" * 32, 1_700_000_000)
TO = Address(b"\xc0" * 20)
GWEI = 10**9


@dataclass
class Bench:
    store: Store
    node: FakeNode
    submitter: Submitter
    clock: list[int]

    def executed(self, number: int) -> RequestId:
        request = a_request(number)
        cursor = self.store.chain.cursor()
        block = BlockRef(cursor.number + 1, bytes([number]) * 32, cursor.timestamp_s + 1)
        self.store.chain.advance(cursor, block, [Created(request, b"", block.number, b"\x01" * 32)], 0, 0)
        self.store.requests.record_receipt(receipt(request.request_id), 0)
        return request.request_id

    def send(self, number: int) -> bytes:
        request_id = self.executed(number)
        return self.submitter.send(TransactionKind.FULFILL, [request_id], TO, b"data", 100_000).hash

    def state(self, number: int) -> RequestState:
        stored = self.store.requests.get(a_request(number).request_id)
        assert stored is not None
        return stored.state

    def restarted(self) -> Submitter:
        """What a new process would make."""
        old = self.submitter
        self.submitter = self.another(old.owner)
        self.submitter.lease_ms = old.lease_ms
        return self.submitter

    def another(self, owner: str, key: SigningKey | None = None, lease_ms: int = 0) -> Submitter:
        """A submitter of another process."""
        old = self.submitter
        return Submitter(
            old.node,
            self.store.journal,
            key or old.key,
            old.chain_id,
            old.policy,
            old.now_ms,
            bump_after_ms=1_000,
            owner=owner,
            lease_ms=lease_ms,
        )


def make_bench(directory: Path) -> Bench:
    key = SigningKey(b"\x07" * 32)
    store = Store.open(f"sqlite:///{directory}/pool.sqlite", create=True)
    store.chain.adopt(Identity(31337, a_request().coprocessor, START))
    clock = [1_000]
    node = FakeNode(key)
    policy = FeePolicy(100 * GWEI, GWEI)
    submitter = Submitter(node, store.journal, key, 31337, policy, lambda: clock[0], bump_after_ms=1_000)
    return Bench(store, node, submitter, clock)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = make_bench(tmp_path)
    yield made
    made.store.close()


def test_send_is_broadcast_mined_and_concluded(bench: Bench) -> None:
    sent = bench.send(1)
    assert list(bench.node.pool) == [sent]
    assert bench.state(1) is RequestState.SUBMITTED
    assert bench.submitter.tend() == 1
    bench.node.mine(sent)
    assert bench.submitter.tend() == 0
    assert bench.store.journal.sent(bench.submitter.account) == []


def test_send_that_would_revert_takes_no_nonce(bench: Bench) -> None:
    """P3."""
    bench.node.reverts = RevertedError("RequestNotOpen")
    with pytest.raises(RevertedError, match="RequestNotOpen"):
        bench.send(1)
    assert bench.state(1) is RequestState.EXECUTED
    bench.node.reverts = None
    bench.submitter.send(TransactionKind.FULFILL, [a_request(1).request_id], TO, b"data", 100_000)
    assert bench.store.journal.sent(bench.submitter.account)[0].newest.nonce == 0


def test_send_twice_the_second_is_refused(bench: Bench) -> None:
    """P2: one request, one transaction."""
    bench.send(1)
    with pytest.raises(ConflictError):
        bench.submitter.send(TransactionKind.FULFILL, [a_request(1).request_id], TO, b"data", 100_000)
    assert len(bench.node.pool) == 1


def test_send_over_the_fee_cap_waits(bench: Bench) -> None:
    bench.node.base_fee_per_gas = 101 * GWEI
    with pytest.raises(FeeTooHighError):
        bench.send(1)
    bench.node.base_fee_per_gas = 99 * GWEI
    bench.submitter.send(TransactionKind.FULFILL, [a_request(1).request_id], TO, b"data", 100_000)
    assert bench.store.journal.sent(bench.submitter.account)[0].newest.fees.max_fee_per_gas == 100 * GWEI


def test_send_without_money_names_the_account(bench: Bench) -> None:
    bench.node.balance_wei = 10
    with pytest.raises(RelayUnfundedError, match=f"0x{bench.submitter.account.hex()}"):
        bench.send(1)


def test_crash_between_journal_and_broadcast_is_resumed(bench: Bench) -> None:
    """P2: written down before it is sent."""
    bench.node.deaf = True
    sent = bench.send(1)
    assert bench.node.pool == {}
    bench.node.deaf = False
    bench.restarted().resume()
    assert list(bench.node.pool) == [sent]


def test_broadcast_to_a_node_that_is_away_is_tried_again(bench: Bench) -> None:
    bench.node.deaf = True
    bench.send(1)
    bench.node.deaf = False
    bench.clock[0] += 1_000
    assert bench.submitter.tend() == 1
    assert len(bench.node.pool) == 1


def test_stuck_transaction_is_replaced_up_to_the_cap(bench: Bench) -> None:
    first = bench.send(1)
    for _ in range(60):
        bench.clock[0] += 1_000
        bench.submitter.tend()
    (sent,) = bench.store.journal.sent(bench.submitter.account)
    fees = sent.newest.fees
    assert len(sent.hashes) > 10
    assert fees.max_fee_per_gas <= 100 * GWEI < fees.max_fee_per_gas * 9 // 8 + 1
    bench.node.mine(first)  # any version may be the one
    assert bench.submitter.tend() == 0


def test_stuck_transaction_of_a_settled_request_becomes_a_transfer_of_nothing(bench: Bench) -> None:
    bench.send(1)
    request_id, cursor = a_request(1).request_id, bench.store.chain.cursor()
    block = BlockRef(cursor.number + 1, b"\x44" * 32, cursor.timestamp_s + 1)
    end = Settled(request_id, TO, Outcome.COMPLETED, True, 1, 1, block.number, b"\x02" * 32)
    bench.store.chain.advance(cursor, block, [end], 0, 0)
    bench.clock[0] += 1_000
    bench.submitter.tend()
    (sent,) = bench.store.journal.sent(bench.submitter.account)
    assert (sent.newest.kind, sent.newest.to, sent.newest.data) == (TransactionKind.FILL, bench.submitter.account, b"")


def test_reverted_transaction_gives_its_request_back(bench: Bench) -> None:
    bench.node.mine(bench.send(1), succeeded=False)
    bench.submitter.tend()
    assert bench.state(1) is RequestState.EXECUTED


def test_reorganised_transaction_is_sent_again(bench: Bench) -> None:
    """P5."""
    sent = bench.send(1)
    bench.node.mine(sent)
    assert bench.submitter.tend() == 0
    bench.node.unmine(sent)
    bench.clock[0] += 1_000
    assert bench.submitter.tend() == 1
    assert len(bench.node.pool) == 1


def test_nonce_used_elsewhere_gives_its_request_back(bench: Bench) -> None:
    bench.send(1)
    bench.node.nonce = 1
    bench.clock[0] += 60_000
    bench.submitter.tend()
    assert bench.state(1) is RequestState.EXECUTED


def test_broadcast_that_failed_is_repeated_at_once_and_not_for_a_higher_fee(bench: Bench) -> None:
    bench.node.mute = True
    sent = bench.send(1)
    assert bench.node.pool == {}
    bench.node.mute = False
    assert bench.submitter.tend() == 1
    assert list(bench.node.pool) == [sent]


# -- one owner per account ---------------------------------------------------------------------------------------------


def test_take_over_stands_by_while_the_owner_lives(bench: Bench) -> None:
    """P11."""
    owner, standby = bench.another("one", lease_ms=3_000), bench.another("two", lease_ms=3_000)
    owner.take_over()
    for _ in range(10):
        bench.clock[0] += 1_000
        owner.tend()
        with pytest.raises(AccountHeldError):
            standby.take_over()
    owner.hand_over()
    standby.take_over()
    with pytest.raises(AccountHeldError):
        owner.take_over()


def test_take_over_from_a_lost_host_continues_with_its_nonces_and_transactions(bench: Bench) -> None:
    """P2, P3, P11: what it had signed, and never sent, is sent."""
    bench.submitter = lost = bench.another("one", lease_ms=3_000)
    bench.node.deaf = True
    first = bench.send(1)
    bench.node.deaf = False
    bench.submitter = bench.another("two", lease_ms=3_000)
    with pytest.raises(AccountHeldError):
        bench.submitter.take_over()
    bench.clock[0] += 3_000
    bench.submitter.take_over()
    bench.submitter.resume()
    assert list(bench.node.pool) == [first]
    bench.send(2)
    assert [s.newest.nonce for s in bench.store.journal.sent(lost.account)] == [0, 1]


def test_former_owner_that_wakes_up_sends_nothing(bench: Bench) -> None:
    """P11: it may have been stopped at any point, the store refuses."""
    former = bench.another("one", lease_ms=3_000)
    former.take_over()
    bench.clock[0] += 3_000
    bench.another("two", lease_ms=3_000).take_over()
    former._renew_at_ms = 10**15  # it believes to be in time
    with pytest.raises(AccountLostError):
        former.send(TransactionKind.FULFILL, [bench.executed(1)], TO, b"data", 100_000)
    assert bench.node.pool == {}
    former._renew_at_ms = 0
    with pytest.raises(AccountHeldError):
        former.tend()


def test_relieve_gives_back_what_a_lost_account_did_not_deliver(bench: Bench) -> None:
    """P12."""
    bench.submitter = bench.another("one", lease_ms=3_000)
    bench.node.deaf = True
    bench.send(1)
    other = bench.another("two", SigningKey(b"\x08" * 32), lease_ms=3_000)
    bench.clock[0] += other.relieve_after_ms - 1
    assert other.relieve() == 0
    bench.clock[0] += 1
    assert other.relieve() == 1
    assert other.relieve() == 0
    assert bench.state(1) is RequestState.EXECUTED
    bench.node.deaf = False
    other.send(TransactionKind.FULFILL, [a_request(1).request_id], TO, b"data", 100_000)
    assert bench.state(1) is RequestState.SUBMITTED


def test_relieve_account_that_comes_back_fills_its_nonce(bench: Bench) -> None:
    """P12: what another delivers meanwhile is not sent again."""
    bench.submitter = bench.another("one", lease_ms=3_000)
    bench.node.deaf = True
    bench.send(1)
    bench.clock[0] += 300_000
    bench.another("two", SigningKey(b"\x08" * 32)).relieve()
    bench.node.deaf = False
    bench.submitter.take_over()
    bench.submitter.resume()
    assert bench.node.pool == {}
    assert bench.submitter.tend() == 1
    (sent,) = bench.store.journal.sent(bench.submitter.account)
    assert (sent.newest.kind, sent.newest.data) == (TransactionKind.FILL, b"")
    bench.node.mine(sent.newest.hash)
    assert bench.submitter.tend() == 0


def test_relieve_what_was_mined_is_concluded_and_not_given_back(bench: Bench) -> None:
    """P12."""
    bench.submitter = bench.another("one", lease_ms=3_000)
    bench.node.mine(bench.send(1))
    bench.clock[0] += 300_000
    assert bench.another("two", SigningKey(b"\x08" * 32)).relieve() == 0
    assert bench.store.journal.sent(bench.submitter.account) == []
    assert bench.state(1) is RequestState.SUBMITTED


# -- gaps and reorganisations ------------------------------------------------------------------------------------------


def test_nonces_used_elsewhere_and_given_back_by_a_reorganisation_are_filled(bench: Bench) -> None:
    """P3: nothing after a gap would ever be mined."""
    bench.node.nonce = 2
    bench.send(1)
    bench.node.nonce = 0
    assert bench.submitter.tend() == 3
    bench.clock[0] += 999
    bench.submitter.tend()
    assert len(bench.node.pool) == 1
    bench.clock[0] += 1
    bench.submitter.tend()
    kinds = {s.newest.nonce: s.newest.kind for s in bench.store.journal.sent(bench.submitter.account)}
    assert kinds == {0: TransactionKind.FILL, 1: TransactionKind.FILL, 2: TransactionKind.FULFILL}
    assert len(bench.node.pool) >= 3


def test_recheck_transaction_that_reverts_after_a_reorganisation_gives_its_request_back(bench: Bench) -> None:
    """P5."""
    sent = bench.send(1)
    bench.node.mine(sent)
    bench.submitter.tend()
    assert bench.submitter.recheck() == 0
    bench.node.mined[sent] = replace(bench.node.mined[sent], succeeded=False)
    assert bench.submitter.recheck() == 1
    assert bench.submitter.recheck() == 0
    assert bench.state(1) is RequestState.EXECUTED


def test_recheck_asks_once_for_all_and_keeps_nobody_from_sending(bench: Bench) -> None:
    """A node that takes its time must not stop deliveries."""
    for number in range(5):
        bench.node.mine(bench.send(number))
    bench.submitter.tend()
    was_locked: list[bool] = []
    bench.node.during_inclusions = lambda: was_locked.append(bench.submitter._lock.locked())
    assert bench.submitter.recheck() == 0
    assert was_locked == [False]


STEPS = st.lists(
    st.sampled_from(["send", "deaf", "hear", "away", "back", "crash", "mine", "revert", "unmine", "tend", "wait"]),
    max_size=50,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_any_trouble_nonces_have_no_gaps_and_no_request_has_two_transactions(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """P2, P3."""
    bench = make_bench(tmp_path_factory.mktemp("submitter"))
    mined: list[bytes] = []
    count = 0
    try:
        for step in steps:
            count = _step(bench, step, mined, count)
        bench.node.deaf = bench.node.unreachable = False
        bench.restarted().resume()
        account = bench.submitter.account
        sent = [s.newest.nonce for s in bench.store.journal.sent(account)]
        everything = sorted(sent + [s.newest.nonce for s in bench.store.journal.mined_since(account, 0)])
        assert everything == list(range(bench.store.journal.next_nonce(account, 0)))
        carried = [s.newest.subjects for s in bench.store.journal.sent(account)]
        assert len(carried) == len(set(carried))
        for _ in range(200):
            bench.clock[0] += 1_000
            if not bench.submitter.tend() and not bench.store.journal.sent(account):
                break
            _mine_next(bench, mined, succeeded=True)
        assert bench.store.journal.sent(account) == []
    finally:
        bench.store.close()


def _step(bench: Bench, step: str, mined: list[bytes], count: int) -> int:
    try:
        match step:
            case "send":
                bench.send(count := count + 1)
            case "deaf" | "hear":
                bench.node.deaf = step == "deaf"
            case "away" | "back":
                bench.node.unreachable = step == "away"
            case "crash":
                bench.restarted().resume()
            case "mine" | "revert":
                _mine_next(bench, mined, succeeded=step == "mine")
            case "unmine" if mined:
                bench.node.unmine(mined.pop())
            case "tend":
                bench.submitter.tend()
            case _:
                bench.clock[0] += 700
    except RetryableError:
        pass
    return count


def _mine_next(bench: Bench, mined: list[bytes], *, succeeded: bool) -> None:
    """Mine any version of the next nonce that the node knows; drop versions that lost."""
    for sent in [
        *bench.store.journal.sent(bench.submitter.account),
        *bench.store.journal.mined_since(bench.submitter.account, 0),
    ]:
        known = [value for value in sent.hashes if value in bench.node.pool]
        if sent.newest.nonce == bench.node.nonce and known:
            bench.node.mine(known[-1], succeeded=succeeded)
            mined.append(known[-1])
            for other in known[:-1]:
                del bench.node.pool[other]
            return
    bench.node.pool.clear()  # only nonces that are used already
