"""
A registration from its first collateral to its end, on the real contracts, by time travel.

The pool runs with all its parts. Intel is a service of our own, whose documents are as old as the chain says.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from oracle import anvil
from oracle.attestation.dcap.onchain import Held, is_usable
from oracle.chain.contracts import abi
from oracle.chain.dcap import DcapOnChain
from oracle.chain.deployment import UP_TO_DATE_ONLY
from oracle.chain.rpc import quantity
from oracle.chain.wallet import Wallet
from oracle.config import Settings
from oracle.store.rows import EnclaveState, RequestState, StoredEnclave
from oracle.store.store import Store
from oracle.supervisor import running
from oracle.types.ids import Address, RequestId, hex_of, parse_hex
from oracle.wiring import open_wallet
from tests.fake_verifier import bundle_of, collateral_of
from tests.fakes import MEASUREMENT, PKI, FakeEnclave, eventually, serving
from tests.integration.conftest import Chain, build_chain, pool_settings
from tests.intel import Intel, publishing

RELAY = Address(anvil.ACCOUNTS[1].address)
DAY_S, HOUR_S = 86_400, 3_600
WITHIN_S = 60.0
ALSO_OUT_OF_DATE = (1 | 1 << 4, 4_000_000_000, 0, False, 0)
COLLATERAL = {
    abi("DcapVerifier").functions[name][0]: name
    for name in ("addCertificateAuthority", "addPck", "addTcbSigner", "refreshPckCrl", "refreshQeIdentity",
                 "refreshRootCrl", "refreshTcbInfo")
}  # fmt: skip
SELECTORS = COLLATERAL | {
    abi("EnclaveRegistry").functions["register"][0]: "register",
    abi("Coprocessor").functions["fulfill"][0]: "fulfill",
    abi("Coprocessor").functions["fulfillBatch"][0]: "fulfill",
    abi("Coprocessor").functions["expire"][0]: "expire",
}
DOCUMENTS = ["refreshPckCrl", "refreshQeIdentity", "refreshRootCrl", "refreshTcbInfo"]


@dataclass
class World:
    """A chain, Intel, and a pool with one enclave that survives everything but `replace_enclave`."""

    chain: Chain
    intel: Intel
    settings: Settings
    capfd: pytest.CaptureFixture[str]
    enclave: FakeEnclave = field(default_factory=FakeEnclave)
    said: str = ""

    # the chain

    @property
    def registry(self) -> Address:
        return Address(parse_hex(self.chain.deployment.enclave_registry, 20, "registry"))

    @property
    def owner(self) -> Wallet:
        return open_wallet(self.settings, self.chain.rpc, anvil.ACCOUNTS[0])

    @property
    def now_s(self) -> int:
        return self.chain.reader.head().timestamp_s

    @property
    def signer(self) -> Address:
        return Address(self.enclave.key.address)

    @property
    def live_until_s(self) -> int:
        return self.chain.reader.live_until(self.registry, self.signer)

    @property
    def is_live(self) -> bool:
        return bool(self.chain.reader.view("EnclaveRegistry", self.registry, "isLive", hex_of(self.signer)))

    @property
    def held(self) -> Held:
        verifier = DcapOnChain.of_registry(self.chain.reader, self.registry)
        return verifier.held(bundle_of(PKI, collateral_of(PKI, self.now_s)))

    def travel(self, seconds: int) -> None:
        self.chain.rpc.call("evm_increaseTime", seconds)
        self.chain.rpc.call("evm_mine")

    def change(self, function: str, *arguments: Any) -> None:
        """The owner changes something; a block later quotes are about the time after it."""
        self.owner.call("EnclaveRegistry", self.registry, function, *arguments)
        self.chain.rpc.call("evm_mine")

    def transactions(self) -> list[str]:
        """What the relay account sent, sorted by name; none of it reverted."""
        sent = []
        for number in range(self.chain.reader.head().number + 1):
            block = self.chain.rpc.call("eth_getBlockByNumber", hex(number), True)
            for transaction in block["transactions"]:
                if transaction["from"] == hex_of(RELAY):
                    sent.append(SELECTORS[bytes.fromhex(transaction["input"][2:10])])
                    tx_receipt = self.chain.rpc.call("eth_getTransactionReceipt", transaction["hash"])
                    assert quantity(tx_receipt["status"]) == 1, f"{sent[-1]} was reverted"
        return sorted(sent)

    # the pool

    @contextlib.contextmanager
    def pool(self, ready_within_s: float = WITHIN_S) -> Iterator[Store]:
        """Runs, and is registered."""
        assert self.settings.enclave_socket is not None
        with (
            serving(self.enclave, self.settings.enclave_socket),
            running(self.settings, ready_within_s),
            Store.open(self.settings.database) as store,
        ):
            yield store

    def stored(self, store: Store) -> StoredEnclave:
        found = store.enclaves.get(self.signer)
        assert found is not None
        return found

    def serve(self, store: Store) -> None:
        """A request is served."""
        request_id = self.chain.request().request.request_id
        await_state(store, request_id, RequestState.SETTLED)

    def await_log(self, text: str) -> None:
        eventually(lambda: text in self.log(), WITHIN_S, f"the log says {text!r}")

    def log(self) -> str:
        self.said += self.capfd.readouterr().err
        return self.said


def await_state(store: Store, request_id: RequestId, state: RequestState) -> None:
    def is_there() -> bool:
        stored = store.requests.get(request_id)
        return stored is not None and stored.state is state

    eventually(is_there, WITHIN_S, f"request is {state}")


@pytest.fixture
def world(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[World]:
    with anvil.running() as node:
        chain = build_chain(node, (MEASUREMENT,), is_supplied=False)
        with publishing(Intel(PKI, lambda: chain.reader.head().timestamp_s)) as intel:
            settings = replace(
                pool_settings(chain, tmp_path), enclave_socket=tmp_path / "e.sock", collateral_source=intel.url
            )
            yield World(chain, intel, settings, capfd)
        chain.rpc.close()


def test_chain_without_collateral_gets_all_of_it_from_the_pool(world: World) -> None:
    assert not is_usable(world.held, world.now_s)
    with world.pool() as store:
        assert world.is_live
        world.serve(store)
    assert is_usable(world.held, world.now_s)
    assert world.transactions() == sorted([*COLLATERAL.values(), "register", "fulfill"])


def test_renewal_before_the_end_overlaps_and_serves_meanwhile(world: World) -> None:
    with world.pool() as store:
        first_s = world.live_until_s
        world.travel(first_s - world.now_s - HOUR_S)
        world.serve(store)

        def is_renewed() -> bool:
            assert world.is_live
            return world.live_until_s > first_s

        eventually(is_renewed, WITHIN_S, "the registration is renewed")
        eventually(lambda: world.stored(store).live_until_s == world.live_until_s)
        world.travel(2 * HOUR_S)  # beyond the first
        assert world.is_live
        world.serve(store)
    sent = world.transactions()
    assert sent.count("register") == 2
    assert sorted(name for name in sent if name in COLLATERAL.values()) == sorted([*COLLATERAL.values(), *DOCUMENTS])


def test_collateral_is_refreshed_before_it_ages_without_a_new_registration(world: World) -> None:
    with world.pool() as store:
        first_s = world.live_until_s
        world.travel(first_s - world.now_s - 6 * DAY_S)
        ends_s = [document.valid_until_s for document in world.held.documents]

        def is_fresh() -> bool:
            fresh = [document.valid_until_s for document in world.held.documents]
            return fresh[0] == ends_s[0] and all(new > old for new, old in zip(fresh[1:], ends_s[1:], strict=True))

        eventually(is_fresh, WITHIN_S, "all documents are fresh")
        world.serve(store)
        assert (world.live_until_s, world.stored(store).state) == (first_s, EnclaveState.LIVE)
    assert world.transactions() == sorted([*COLLATERAL.values(), *DOCUMENTS, "register", "fulfill"])


def evaluate_anew(world: World, number: int, status: str) -> None:
    """Intel publishes another evaluation, and the pool brings it to the chain."""
    world.intel.evaluation_number, world.intel.status = number, status
    world.travel(HOUR_S)
    eventually(lambda: world.held.tcb_info.number == number == world.held.qe_identity.number, WITHIN_S, "evaluated")
    world.travel(301)


def test_evaluation_anew_is_attested_again_and_refusal_does_not_end_what_counts(world: World) -> None:
    with world.pool() as store:
        evaluate_anew(world, 19, "UpToDate")
        eventually(lambda: world.transactions().count("register") == 2, WITHIN_S, "attested again")
        eventually(lambda: world.stored(store).state is EnclaveState.LIVE)
        assert world.stored(store).evaluation_number == 19

        evaluate_anew(world, 20, "OutOfDate")
        eventually(lambda: "StatusNotAccepted" in str(world.stored(store).refusal), WITHIN_S, "it is refused")
        world.await_log("error: cannot register enclave")
        assert world.stored(store).state is EnclaveState.LIVE
        world.serve(store)

        world.travel(world.live_until_s - world.now_s + 1)
        eventually(lambda: not store.enclaves.counts(world.signer), WITHIN_S, "its end is noticed")
        pending = world.chain.request().request.request_id
        eventually(lambda: store.requests.get(pending))
        world.change("setPolicy", MEASUREMENT, ALSO_OUT_OF_DATE)
        await_state(store, pending, RequestState.SETTLED)
        assert world.stored(store).refusal is None
    sent = world.transactions()
    assert (sent.count("register"), sent.count("fulfill")) == (3, 2)


@dataclass(frozen=True)
class Withdrawal:
    """How the owner takes trust away, what the registry calls it, and how it comes back."""

    take: Callable[[World], None]
    error: str
    give: Callable[[World], None]


def platform_of(world: World) -> bytes:
    platform: bytes = world.chain.reader.view("EnclaveRegistry", world.registry, "enclave", hex_of(world.signer))[4]
    return platform


def deny(world: World) -> None:
    world.change("denyPlatform", platform_of(world))


def allow(world: World) -> None:
    world.change("allowPlatform", platform_of(world))


def restart_enclave(world: World) -> None:
    """A revoked key never comes back; an enclave that starts anew has another."""
    world.enclave.key = FakeEnclave().key


WITHDRAWALS = {
    "build": Withdrawal(
        lambda world: world.change("revokeMeasurement", MEASUREMENT),
        "MeasurementNotApproved",
        lambda world: world.change("approveMeasurement", MEASUREMENT, UP_TO_DATE_ONLY),
    ),
    "platform": Withdrawal(deny, "PlatformNotAccepted", allow),
    "key": Withdrawal(
        lambda world: world.change("revokeEnclave", hex_of(world.signer)), "SignerRevoked", restart_enclave
    ),
}


@pytest.mark.parametrize("what", WITHDRAWALS)
def test_withdrawn_trust_ends_all_use_and_its_return_begins_it_again(world: World, what: str) -> None:
    withdrawal = WITHDRAWALS[what]
    with world.pool() as store:
        world.serve(store)
        withdrawal.take(world)
        assert not world.is_live
        eventually(lambda: not store.enclaves.counts(world.signer), WITHIN_S, "it is noticed")
        world.await_log("the registry does not count it any more")
        before, executed = world.transactions(), list(world.enclave.executed)

        late = [world.chain.request(b"%d" % number, wait_s=60).request.request_id for number in range(3)]
        eventually(lambda: withdrawal.error in str(world.stored(store).refusal), WITHIN_S, "it is refused")
        eventually(lambda: all(store.requests.get(request_id) for request_id in late))
        for request_id in late:
            await_state(store, request_id, RequestState.PENDING)
        assert not store.enclaves.counts(world.signer)
        world.travel(120)
        for request_id in late:
            await_state(store, request_id, RequestState.EXPIRED)
        assert world.transactions() == sorted([*before, *["expire"] * 3])
        assert world.enclave.executed == executed

        withdrawal.give(world)
        eventually(lambda: world.is_live, WITHIN_S, "it is registered again")
        world.serve(store)
    assert world.transactions().count("register") == 2


def test_source_away_until_the_end_is_an_alarm_and_its_return_a_recovery(world: World) -> None:
    with world.pool() as store:
        world.intel.is_away = True
        world.travel(world.live_until_s - world.now_s + DAY_S)
        assert not is_usable(world.held, world.now_s)
        eventually(lambda: "status 503" in str(world.stored(store).refusal), WITHIN_S, "the alarm")
        assert world.stored(store).state is EnclaveState.DEAD
        world.await_log("the registry does not count it any more")
        world.await_log("status 503")
        pending = world.chain.request(wait_s=DAY_S).request.request_id
        await_state(store, pending, RequestState.PENDING)
        world.intel.is_away = False
        await_state(store, pending, RequestState.SETTLED)
    assert world.transactions() == sorted([*COLLATERAL.values(), *DOCUMENTS, "register", "register", "fulfill"])


def test_source_away_at_the_margin_is_an_alarm_while_the_key_counts(world: World) -> None:
    with world.pool() as store:
        world.intel.is_away = True
        world.travel(world.live_until_s - world.now_s - 6 * DAY_S)
        world.await_log("error: cannot keep the collateral of enclave")
        assert world.stored(store).state is EnclaveState.LIVE
        world.serve(store)
        world.intel.is_away, old_s = False, world.held.root_crl.valid_until_s
        world.travel(301)
        eventually(lambda: world.held.root_crl.valid_until_s > old_s, WITHIN_S, "it is refreshed")


def kill(settings: Settings, part: str) -> int:
    """Kill -9; the process that it was."""
    pid: int = json.loads((settings.data_dir / "run" / "pids.json").read_text())[part]
    os.kill(pid, signal.SIGKILL)
    return pid


@contextlib.contextmanager
def meanwhile(disturb: Callable[[], None]) -> Iterator[None]:
    """`disturb` in a thread; what it raises is raised at the end of the block."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            disturb()
        except BaseException as error:  # noqa: BLE001  # handed on
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if raised:
        raise raised[0]


@contextlib.contextmanager
def store_of(settings: Settings) -> Iterator[Store]:
    with Store.open(settings.database, create=True) as store:
        yield store


@pytest.mark.parametrize("state", [EnclaveState.SUPPLYING, EnclaveState.ATTESTED, EnclaveState.SUBMITTED])
def test_worker_killed_while_it_registers_ends_registered(world: World, state: EnclaveState) -> None:
    """P1. Blocks are held back, so that the worker is killed in this very state."""
    settings = world.settings
    world.chain.rpc.call("evm_setAutomine", False)

    def is_there(store: Store) -> bool:
        world.chain.rpc.call("evm_mine")
        found = store.enclaves.get(world.signer)
        return found is not None and found.state is state

    def disturb() -> None:
        with store_of(settings) as store:
            eventually(lambda: is_there(store), WITHIN_S, f"it is {state}")
        kill(settings, "worker")
        world.chain.rpc.call("evm_setAutomine", True)
        world.chain.rpc.call("evm_mine")

    with meanwhile(disturb), world.pool() as store:
        world.serve(store)
        assert store.journal.sent(RELAY) == [] or eventually(lambda: store.journal.sent(RELAY) == [])
    sent = world.transactions()
    assert [name for name in sent if name != "register"] == sorted([*COLLATERAL.values(), "fulfill"])
    assert sent.count("register") == 1


def test_submitter_killed_after_it_sent_collateral_sends_nothing_twice(world: World) -> None:
    """P2, P3."""
    settings = world.settings
    world.chain.rpc.call("evm_setAutomine", False)

    def is_all_mined(store: Store) -> bool:
        world.chain.rpc.call("evm_mine")
        return not store.journal.sent(RELAY)

    def disturb() -> None:
        with store_of(settings) as store:
            for _ in range(2):  # the root's list, then issuers
                eventually(lambda: store.journal.sent(RELAY), WITHIN_S, "collateral is sent")
                kill(settings, "submitter")
                eventually(lambda: is_all_mined(store), WITHIN_S, "its successor sees it mined")
        world.chain.rpc.call("evm_setAutomine", True)
        world.chain.rpc.call("evm_mine")

    with meanwhile(disturb), world.pool() as store:
        world.serve(store)
        eventually(lambda: not store.journal.sent(RELAY))
    assert world.transactions() == sorted([*COLLATERAL.values(), "register", "fulfill"])


def test_source_away_at_boot_is_one_alarm_and_its_return_a_registration(world: World) -> None:
    world.intel.is_away = True

    def disturb() -> None:
        with store_of(world.settings) as store:
            eventually(lambda: store.enclaves.get(world.signer), WITHIN_S)
            eventually(lambda: world.intel.url in str(world.stored(store).refusal), WITHIN_S, "the alarm")
            assert world.stored(store).state is EnclaveState.DEAD
            first_ms = world.stored(store).refused_at_ms
            eventually(lambda: world.stored(store).refused_at_ms > first_ms, WITHIN_S, "it is tried again")
        world.intel.is_away = False

    with meanwhile(disturb), world.pool(3 * WITHIN_S) as store:
        assert world.stored(store).refusal is None
    assert world.log().count("error: cannot register enclave") == 1
