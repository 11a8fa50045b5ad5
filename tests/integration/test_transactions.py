"""
Transactions under trouble, on a real chain: several relay keys, a stuck transaction, a lost host, fees that do not pay,
pools that race.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from oracle.anvil import ACCOUNTS
from oracle.chain.errors import AccountHeldError
from oracle.chain.gas import SHARED_USE_GAS, delivery_use_gas
from oracle.chain.node import RpcNode
from oracle.chain.rpc import quantity
from oracle.chain.submitter import Submitter
from oracle.config import Settings
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import keccak256
from oracle.jobs.sharing import rank
from oracle.jobs.submit import SubmitDependencies, submit
from oracle.store.rows import RequestState, StoredReceipt
from oracle.store.schema import receipts
from oracle.store.store import Store
from oracle.supervisor import running
from oracle.types.block import Created
from oracle.types.ids import Address, hex_of
from oracle.types.receipt import Outcome, Receipt
from oracle.wiring import Wiring, now_ms
from tests.fakes import FakeEnclave, eventually
from tests.integration.conftest import Chain, pool_settings
from tests.integration.test_chain import register

FIRST, SECOND = Address(ACCOUNTS[1].address), Address(ACCOUNTS[3].address)


def key_file(directory: Path, key: SigningKey) -> Path:
    path = directory / f"{key.address.hex()}.key"
    path.write_text("0x" + key.secret.hex())
    path.chmod(0o600)
    return path


def audit(chain: Chain, store: Store, account: Address) -> int:
    """Check that the account's nonces have no gap; return how many transactions it sent."""
    eventually(lambda: store.journal.sent(account) == [], 30, "everything is concluded")
    mined = RpcNode(chain.rpc).account(account).nonce
    journal = [sent.newest.nonce for sent in store.journal.mined_since(account, 0)]
    assert journal == list(range(mined))
    assert quantity(chain.rpc.call("eth_getTransactionCount", hex_of(account), "pending")) == mined
    assert store.journal.next_nonce(account, mined) == mined
    return mined


def test_two_relay_keys_in_parallel_settle_each_request_once(chain: Chain, whole_pool: Settings) -> None:
    """P1, P2, P3, P13."""
    second = key_file(whole_pool.data_dir, ACCOUNTS[3])
    pool = replace(whole_pool, relay_key_files=(second,))
    with running(pool) as supervisor, Store.open(pool.database) as store:
        assert {"submitter", "submitter-1"} <= supervisor.pids().keys()
        asked = [chain.request(b"%d" % number).request.request_id for number in range(60)]
        eventually(lambda: store.requests.counts()[RequestState.SETTLED] == len(asked), 60, "all settled")
        assert audit(chain, store, FIRST) > 0
        assert audit(chain, store, SECOND) > 0
        assert chain.settlements() == dict.fromkeys(asked, 1)


# -- jobs on a real chain, at a clock of our own -----------------------------------------------------------------------


class Host:
    """What one submitter's host has: a store, perhaps shared, a relay account, and an enclave that signs anything."""

    def __init__(self, chain: Chain, settings: Settings, enclave: FakeEnclave, clock: list[int]) -> None:
        self.chain, self.enclave = chain, enclave
        self.wiring = Wiring(settings, create_store=True)
        self.watcher = replace(self.wiring.watcher(), now_ms=lambda: clock[0], wake=lambda _: None)
        self.submitter.now_ms = lambda: clock[0]
        self.submitter.bump_after_ms = 10**9

    @property
    def submitter(self) -> Submitter:
        return self.wiring.submitter

    @property
    def store(self) -> Store:
        return self.wiring.store

    @property
    def dependencies(self) -> SubmitDependencies:
        return replace(self.wiring.submit(), signing_enclave=lambda _: self.enclave)

    def execute(self, asked: Sequence[Created], output: bytes = b"output") -> None:
        """Read the chain, and sign receipts of these requests."""
        self.catch_up()
        for created in asked:
            request = created.request
            made = Receipt(request.request_id, Outcome.COMPLETED, keccak256(output), 7, self.wiring.payee)
            signature = self.enclave.key.sign(made.digest(request.chain_id, request.coprocessor))
            signer = Address(self.enclave.key.address)
            assert self.store.requests.record_receipt(
                StoredReceipt(made, output, signer, signature), self.submitter.now_ms()
            )

    def submit(self, asked: Sequence[Created], **changes: Any) -> None:
        for created in asked:
            submit(replace(self.dependencies, **changes), created.request.request_id)

    def catch_up(self) -> None:
        while self.watcher.step():
            pass

    def states(self, asked: Sequence[Created]) -> list[RequestState]:
        found = [self.store.requests.get(created.request.request_id) for created in asked]
        return [stored.state for stored in found if stored is not None]


MakeHost = Callable[..., Host]


@pytest.fixture
def clock() -> list[int]:
    """Unix milliseconds; moved by the test alone."""
    return [now_ms()]


@pytest.fixture
def enclave(chain: Chain) -> FakeEnclave:
    made = FakeEnclave()
    register(chain, made)
    return made


@pytest.fixture
def make_host(chain: Chain, enclave: FakeEnclave, clock: list[int], tmp_path: Path) -> Iterator[MakeHost]:
    with ExitStack() as stack:

        def make(name: str, key: SigningKey = ACCOUNTS[1], **changes: Any) -> Host:
            host = Host(chain, replace(pool_settings(chain, tmp_path / name, key), **changes), enclave, clock)
            stack.callback(host.wiring.close)
            return host

        yield make


def mining(chain: Chain, *, by_hand: bool) -> None:
    chain.rpc.call("evm_setAutomine", not by_hand)


def mine(chain: Chain, base_fee_wei: int | None = None) -> None:
    if base_fee_wei is not None:
        chain.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))
    chain.rpc.call("evm_mine")


def outcomes(chain: Chain, account: Address) -> list[bool]:
    """Whether each mined transaction of the account succeeded, by block."""
    found = []
    for number in range(chain.reader.head().number + 1):
        block = chain.rpc.call("eth_getBlockByNumber", hex(number), True)
        for transaction in block["transactions"]:
            if transaction["from"] == hex_of(account):
                tx_receipt = chain.rpc.call("eth_getTransactionReceipt", transaction["hash"])
                found.append(tx_receipt["status"] == "0x1")
    return found


def test_stuck_transaction_is_replaced_for_a_higher_fee_and_mined_once(chain: Chain, make_host: MakeHost) -> None:
    """P2, P3."""
    host, asked = make_host("a"), [chain.request()]
    host.execute(asked)
    mining(chain, by_hand=True)
    host.submit(asked)
    (sent,) = host.store.journal.sent(FIRST)
    dear = 2 * sent.newest.fees.max_fee_per_gas
    mine(chain, dear)
    assert host.submitter.tend() == 1  # nobody wanted it at that price
    host.submitter.bump_after_ms = 0
    mine(chain, dear)
    host.submitter.tend()
    (sent,) = host.store.journal.sent(FIRST)
    assert len(sent.hashes) == 2
    mine(chain, dear)
    assert host.submitter.tend() == 0
    assert audit(chain, host.store, FIRST) == 1
    assert list(chain.settlements().values()) == [1]


def test_lost_host_another_with_the_same_key_delivers_what_it_left(
    chain: Chain, make_host: MakeHost, clock: list[int]
) -> None:
    """P2, P3, P11: signed and written down, but the host was lost before a node had it."""
    lost, asked = make_host("a"), [chain.request(b"%d" % number) for number in range(3)]
    lost.submitter.take_over()
    lost.execute(asked)
    mining(chain, by_hand=True)
    lost.submit(asked[:1], max_batch=1)
    chain.rpc.call("anvil_dropAllTransactions")
    other = make_host("b", database_url=lost.wiring.settings.database)
    with pytest.raises(AccountHeldError):
        other.submitter.take_over()
    clock[0] += 30_000
    other.submitter.take_over()
    other.submitter.resume()
    other.submit(asked)
    mining(chain, by_hand=False)
    mine(chain)
    assert other.submitter.tend() == 0
    with pytest.raises(AccountHeldError):
        lost.submitter.tend()
    assert audit(chain, other.store, FIRST) == 2
    assert list(chain.settlements().values()) == [1] * 3


def test_lost_host_another_with_another_key_delivers_and_the_late_one_reverts(
    chain: Chain, make_host: MakeHost, clock: list[int]
) -> None:
    """P12: the first transaction comes out of some node's pool after all."""
    lost, asked = make_host("a"), [chain.request()]
    lost.submitter.take_over()
    lost.execute(asked)
    mining(chain, by_hand=True)
    lost.submit(asked)
    (sent,) = lost.store.journal.sent(FIRST)
    chain.rpc.call("anvil_dropAllTransactions")
    other = make_host("b", ACCOUNTS[3], database_url=lost.wiring.settings.database)
    other.submitter.take_over()
    clock[0] += 299_000
    assert other.submitter.relieve() == 0
    clock[0] += 2_000
    assert other.submitter.relieve() == 1
    other.submit(asked)
    mine(chain)
    other.submitter.node.broadcast(sent.newest.raw)
    mine(chain)
    other.catch_up()
    assert other.submitter.tend() == 0
    assert list(chain.settlements().values()) == [1]
    assert outcomes(chain, FIRST) == [False]
    assert outcomes(chain, SECOND) == [True]
    assert other.states(asked) == [RequestState.SETTLED]
    clock[0] += 30_000
    lost.submitter.take_over()
    assert lost.submitter.tend() == 0
    assert audit(chain, lost.store, FIRST) == 1


def test_poisoned_receipt_in_a_batch_the_others_settle_in_one_transaction(chain: Chain, make_host: MakeHost) -> None:
    """P14."""
    host, asked = make_host("a"), [chain.request(b"%d" % number) for number in range(12)]
    host.execute(asked)
    poisoned = asked[5]
    with host.store.database.write() as connection:
        wrong = update(receipts).where(receipts.c.request_id == poisoned.request.request_id)
        connection.execute(wrong.values(signature=b"\x01" * 64))
    host.submit(asked)
    host.catch_up()
    assert outcomes(chain, FIRST) == [True]
    assert host.states([poisoned]) == [RequestState.EXECUTED]
    assert chain.settlements() == {c.request.request_id: 1 for c in asked if c is not poisoned}


def test_profit_check_waits_for_cheap_gas_and_then_earns(chain: Chain, make_host: MakeHost) -> None:
    """P15: what was spent, by the chain, is less than the fee."""
    host = make_host("a", profit_check="yes", max_priority_fee_per_gas_gwei=0.01)
    asked = [chain.request(b"%d" % number) for number in range(4)]
    host.execute(asked)
    mine(chain, 10**12)
    mining(chain, by_hand=True)
    host.submit(asked)
    assert host.store.journal.sent(FIRST) == []
    stored = host.store.requests.get(asked[0].request.request_id)
    assert stored is not None
    assert "does not pay" in str(stored.reason)
    mine(chain, 10**7)
    host.submit(asked, minimum_profit_wei=1)
    mine(chain, 10**7)
    host.catch_up()
    assert host.submitter.tend() == 0
    assert host.states(asked) == [RequestState.SETTLED] * 4
    earned = [host.store.requests.get(created.request.request_id) for created in asked]
    spent_wei = 10**20 * 100 - RpcNode(chain.rpc).account(FIRST).balance_wei
    assert 0 < spent_wei < sum(stored.fee_wei or 0 for stored in earned if stored is not None)


@pytest.mark.parametrize(("count", "output_bytes"), [(1, 6), (1, 4_000), (25, 6), (25, 300)])
def test_gas_that_the_profit_check_counts_with_is_what_settling_uses(
    chain: Chain, make_host: MakeHost, count: int, output_bytes: int
) -> None:
    """P15: hardly less, and in a batch for one consumer no more than 1.6 times as much."""
    host = make_host("a")
    first = [chain.request(b"first")]
    host.execute(first)
    host.submit(first)
    asked, output = [chain.request(b"%d" % number) for number in range(count)], b"\xff" * output_bytes
    host.execute(asked, output)
    host.submit(asked)
    tx_receipt = chain.rpc.call("eth_getTransactionReceipt", hex_of(host.store.journal.sent(FIRST)[-1].newest.hash))
    used = quantity(tx_receipt["gasUsed"])
    expected = SHARED_USE_GAS + count * delivery_use_gas(output, 0)
    assert used * 0.95 < expected < used * (1.2 if count == 1 else 1.6), (used, expected)


def race(chain: Chain, hosts: Sequence[Host], asked: Sequence[Created]) -> None:
    """All submit before any of it is mined."""
    for host in hosts:
        host.submit(asked, max_batch=1)
    mine(chain)
    for host in hosts:
        host.catch_up()
        host.submitter.tend()


def test_two_pools_race_for_a_request_one_revert_and_no_more(
    chain: Chain, make_host: MakeHost, clock: list[int]
) -> None:
    """P16: whoever is second loses one cheap transaction, then its simulation says so."""
    hosts = [make_host("a"), make_host("b", ACCOUNTS[3])]
    asked = [chain.request()]
    for host in hosts:
        host.execute(asked)
    mining(chain, by_hand=True)
    race(chain, hosts, asked)
    for _ in range(3):
        clock[0] += 60_000
        race(chain, hosts, asked)
    ends = [*outcomes(chain, FIRST), *outcomes(chain, SECOND)]
    assert sorted(ends) == [False, True]
    assert list(chain.settlements().values()) == [1]


def test_two_pools_that_know_each_other_take_turns_without_a_revert(
    chain: Chain, make_host: MakeHost, clock: list[int]
) -> None:
    """P16."""
    peers = (hex_of(FIRST), hex_of(SECOND))
    hosts = [make_host("a", peers=peers), make_host("b", ACCOUNTS[3], peers=peers)]
    asked = [chain.request(b"%d" % number) for number in range(12)]
    for host in hosts:
        host.execute(asked)
    mining(chain, by_hand=True)
    race(chain, hosts, asked)
    assert len(chain.settlements()) == 12
    clock[0] += 11_000
    race(chain, hosts, asked)
    first = sum(rank(c.request.request_id, FIRST, [FIRST, SECOND]) == 0 for c in asked)
    assert outcomes(chain, FIRST) == [True] * first
    assert outcomes(chain, SECOND) == [True] * (12 - first)


def test_peer_that_is_gone_its_requests_are_delivered_by_the_next(
    chain: Chain, make_host: MakeHost, clock: list[int]
) -> None:
    """P16."""
    host = make_host("a", peers=(hex_of(FIRST), hex_of(SECOND)))
    asked = [chain.request(b"%d" % number) for number in range(8)]
    host.execute(asked)
    race(chain, [host], asked)
    assert len(chain.settlements()) < 8
    clock[0] += 11_000
    race(chain, [host], asked)
    assert list(chain.settlements().values()) == [1] * 8
