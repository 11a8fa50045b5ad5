"""An enclave gets registered, stays registered, and whatever prevents it is an alarm that says why."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import metrics
from oracle.attestation.sources import CollateralUnavailableError
from oracle.chain.errors import RevertedError
from oracle.errors import EnclaveError, RetryableError
from oracle.jobs.execute import work
from oracle.jobs.register import ensure_registered
from oracle.jobs.submit import submit
from oracle.store.rows import EnclaveState, RequestState
from oracle.types.ids import Address
from oracle.types.transaction import TransactionKind
from tests.fakes import FakeEnclave
from tests.unit.jobs.conftest import open_bench
from tests.unit.jobs.life_cycle import DAY_S, World, open_world, world

__all__ = ["world"]

ATTESTED, DEAD, LIVE = EnclaveState.ATTESTED, EnclaveState.DEAD, EnclaveState.LIVE
SUBMITTED, SUPPLYING = EnclaveState.SUBMITTED, EnclaveState.SUPPLYING
REGISTER = TransactionKind.REGISTER
HOUR_S = 3_600


class Refusing(FakeEnclave):
    """Gives no quote."""

    def attest(self, chain_id: int, registry: Address, operator: Address, anchor_block_hash: bytes) -> bytes:
        raise EnclaveError("quote_failed", "no quote from /dev/attestation")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def refuse(world: World, name: str = "StatusNotAccepted") -> None:
    """The registry refuses what is submitted next."""
    world.bench.node.reverts = RevertedError(name, (4,))
    world.deliver()
    world.bench.node.reverts = None


# --- the first registration ---


def test_register_on_a_chain_without_collateral_brings_it_first(world: World) -> None:
    states = []
    for _ in range(3):
        states.append(world.step())
        world.deliver()
        world.mine()
    assert states == [SUPPLYING] * 3
    assert world.step() is ATTESTED
    assert world.deliver() == [REGISTER]
    assert world.step() is SUBMITTED
    world.mine()
    assert world.step() is LIVE
    assert world.woken == [world.signer]
    assert (world.stored.live_until_s, world.stored.evaluation_number) == (world.live_until_s, 18)
    assert metrics.value("renewals") >= 1


def test_register_asked_again_and_again_submits_once(world: World) -> None:
    for _ in range(3):
        world.step()
        world.deliver()
        world.mine()
    for _ in range(3):
        assert world.step() is ATTESTED
    assert world.bench.queue.woken == [("register", world.signer)] * 3
    assert world.deliver() == [REGISTER]
    for _ in range(3):
        assert world.step() is SUBMITTED
    assert world.bench.queue.woken == []


def test_register_quote_that_nobody_submits_is_made_anew(world: World) -> None:
    world.until(ATTESTED)
    first = world.stored
    world.travel(61)
    assert world.step() is ATTESTED
    assert world.stored.seen_at_ms > first.seen_at_ms


def test_register_transaction_that_is_in_flight_is_waited_for_however_long(world: World) -> None:
    """It is the submitter that hurries it; another one behind it would only cost gas."""
    world.until(ATTESTED)
    world.deliver()
    world.travel(HOUR_S)
    assert world.step() is SUBMITTED
    assert world.deliver() == [REGISTER]
    world.mine()
    assert world.step() is LIVE


def test_register_mined_but_not_live_is_made_anew_after_a_while(world: World) -> None:
    world.until(ATTESTED)
    world.deliver()
    world.mine()
    del world.registry.live[world.signer]
    assert world.step() is SUBMITTED  # the node may be behind
    world.travel(61)
    assert world.step() is ATTESTED


def test_register_reverted_on_chain_is_made_anew(world: World) -> None:
    world.until(ATTESTED)
    world.deliver()
    (transaction,) = world.sent
    world.bench.node.mine(transaction.newest.hash, succeeded=False)
    world.bench.submitter.tend()
    assert world.stored.state is DEAD
    assert world.step() is ATTESTED


def test_register_quote_for_supplying_is_made_anew_when_it_gets_old(world: World) -> None:
    world.step()
    first = world.stored
    world.travel(30)
    world.step()
    assert world.stored == first
    world.travel(31)
    world.step()
    assert world.stored.seen_at_ms > first.seen_at_ms


def test_register_enclave_without_quotes_is_an_alarm_with_its_reason(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.bench.enclave, before = Refusing(), metrics.value("renewal_failures")
    assert world.step() is DEAD
    assert world.stored.refusal == "no quote from /dev/attestation"
    for _ in range(5):
        world.travel(1)
        assert world.step() is DEAD  # not asked all the time
    assert metrics.value("renewal_failures") == before + 1
    world.travel(10)
    assert world.step() is DEAD
    assert metrics.value("renewal_failures") == before + 2
    assert len(errors(caplog)) == 1  # the same again is no news
    world.bench.enclave = FakeEnclave(key=world.bench.enclave.key)
    world.travel(10)
    world.until(LIVE)
    assert world.stored.refusal is None


def test_register_refused_by_the_registry_is_an_alarm_and_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.until(ATTESTED)
    refuse(world, "MeasurementNotApproved")
    assert "MeasurementNotApproved" in errors(caplog)[0]
    assert world.step() is DEAD
    assert "MeasurementNotApproved" in str(world.stored.refusal)
    world.travel(10)
    assert world.step() is ATTESTED
    refuse(world, "MeasurementNotApproved")
    assert len(errors(caplog)) == 1
    world.travel(10)
    world.step()
    refuse(world, "AnchorTooOld")
    assert len(errors(caplog)) == 2


def test_register_with_the_source_away_is_an_alarm_until_it_is_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.source.error = CollateralUnavailableError("no collateral from http://pccs: connection refused")
    assert world.step() is DEAD
    assert world.step() is DEAD
    assert world.source.asked == 1
    assert "connection refused" in str(world.stored.refusal)
    assert len(errors(caplog)) == 1
    world.source.error = None
    world.travel(10)
    world.until(LIVE)


@pytest.mark.parametrize("where", ["enclave", "chain", "collateral"])
def test_register_with_something_away_is_no_refusal(world: World, where: str) -> None:
    class Away(FakeEnclave):
        def attest(self, chain_id: int, registry: Address, operator: Address, anchor_block_hash: bytes) -> bytes:
            raise RetryableError("away")

    if where == "enclave":
        world.bench.enclave = Away()
    elif where == "collateral":
        world.source.error = RetryableError("away")
    else:

        def away(_: Address) -> int:
            raise RetryableError("away")

        world.registry.live_until = away  # type: ignore[assignment, method-assign]
    with pytest.raises(RetryableError):
        ensure_registered(world.dependencies, world.bench.enclave)
    found = world.bench.store.enclaves.get(world.signer)
    assert found is None or found.refusal is None


# --- renewal ---


def test_renewal_begins_a_day_before_the_end_and_extends_it(world: World) -> None:
    world.until(LIVE)
    first_s = world.live_until_s
    world.travel(first_s - world.now_s - DAY_S - 1)
    while world.step() is LIVE and world.bench.queue.woken:  # the collateral
        world.deliver()
        world.mine()
    world.travel(1)
    assert world.step() is ATTESTED
    assert world.stored.live_until_s == first_s
    world.until(LIVE)
    assert world.stored.live_until_s == world.live_until_s > first_s
    assert len(world.woken) == 2


def test_renewal_of_a_short_registration_begins_in_its_last_quarter(world: World) -> None:
    world.until(LIVE)
    world.registry.live[world.signer] = world.now_s + 8 * HOUR_S
    assert world.step() is LIVE
    world.travel(6 * HOUR_S - 1)
    assert world.step() is LIVE
    world.travel(1)
    assert world.step() is ATTESTED


def test_renewal_that_failed_is_tried_again_while_the_key_counts(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not forgotten until a quarter of what is left has passed, nor tried every ten seconds for days."""
    world.until(LIVE)
    world.travel(29 * DAY_S)
    world.until(ATTESTED)
    refuse(world)
    assert world.stored.state is LIVE
    assert "StatusNotAccepted" in str(world.stored.refusal)
    left_s = world.live_until_s - world.now_s
    world.travel(left_s // 100 - 10)
    assert world.step() is LIVE
    assert world.bench.queue.woken == []
    world.travel(10)
    assert world.step() is ATTESTED
    assert len(errors(caplog)) == 1
    world.until(LIVE)
    assert world.stored.refusal is None
    assert world.step() is LIVE
    assert world.bench.queue.woken == []


def test_renewal_that_nobody_supplies_or_submits_goes_on(world: World) -> None:
    world.until(LIVE)
    world.travel(29 * DAY_S)
    world.until(ATTESTED)
    for _ in range(3):  # the submitter is away
        world.travel(61)
        assert world.step() is ATTESTED
    world.until(LIVE)


def test_renewal_reverted_on_chain_is_made_anew_and_the_key_goes_on_counting(world: World) -> None:
    world.until(LIVE)
    world.travel(29 * DAY_S)
    world.until(ATTESTED)
    world.deliver()
    (transaction,) = world.sent
    world.bench.node.mine(transaction.newest.hash, succeeded=False)
    world.bench.submitter.tend()
    assert world.bench.store.enclaves.counts(world.signer)
    assert world.step() is ATTESTED


def test_renewal_that_extends_nothing_is_not_repeated_at_once(world: World) -> None:
    """As in a grace period, whose end stands."""
    world.until(LIVE)
    world.registry.live[world.signer] = end_s = world.now_s + DAY_S
    world.step()
    world.travel(18 * HOUR_S)
    assert world.step() is ATTESTED
    world.deliver()
    world.mine()
    world.registry.live[world.signer] = end_s
    assert world.step() is LIVE
    world.travel(HOUR_S)
    assert world.step() is LIVE


def test_renewal_without_newer_collateral_is_an_alarm_and_costs_no_gas(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.source.issued_s = world.now_s - HOUR_S
    world.until(LIVE)
    world.travel(29 * DAY_S)
    assert world.step() is LIVE
    assert "none newer" in errors(caplog)[0]
    assert world.deliver() == []
    world.source.issued_s = None
    world.travel(HOUR_S)
    world.until(ATTESTED)
    world.until(LIVE)


def test_death_in_the_middle_of_a_renewal_leaves_it_going(world: World) -> None:
    world.until(LIVE)
    world.travel(29 * DAY_S)
    world.until(ATTESTED)
    world.deliver()
    del world.registry.live[world.signer]
    assert world.step() is SUBMITTED
    assert not world.bench.store.enclaves.counts(world.signer)
    world.mine()
    assert world.step() is LIVE
    assert world.bench.store.enclaves.counts(world.signer)


# --- what changes under a live key ---


def test_collateral_of_a_live_key_is_looked_after_every_hour(world: World) -> None:
    world.until(LIVE)
    world.step()
    asked = world.source.asked
    world.travel(HOUR_S - 1)
    world.step()
    assert world.source.asked == asked
    world.travel(1)
    world.step()
    assert world.source.asked == asked + 1


def test_collateral_is_refreshed_before_it_ages_without_a_new_registration(world: World) -> None:
    world.until(LIVE)
    world.travel(23 * DAY_S + HOUR_S)
    assert world.step() is LIVE
    assert world.deliver() == [TransactionKind.COLLATERAL] * 4
    world.mine()
    world.travel(300)  # looked after again soon, for there was something on its way
    asked = world.source.asked
    assert world.step() is LIVE
    assert (world.source.asked, world.deliver()) == (asked + 1, [])


def test_collateral_that_cannot_be_had_is_an_alarm_and_asked_for_again_soon(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.until(LIVE)
    world.travel(HOUR_S)
    world.source.error, before = CollateralUnavailableError("away"), metrics.value("collateral_failures")
    assert world.step() is LIVE
    assert world.step() is LIVE
    assert (len(errors(caplog)), metrics.value("collateral_failures")) == (1, before + 1)
    assert world.stored.refusal is None
    world.travel(300)
    world.source.error = None
    asked = world.source.asked
    assert world.step() is LIVE
    assert world.source.asked == asked + 1


def test_evaluation_that_is_newer_makes_the_enclave_attest_again(world: World) -> None:
    """Although the registration would not live any longer: other documents end when they did."""
    world.until(LIVE)
    world.travel(DAY_S)
    world.source.evaluation_number = 19
    assert world.step() is LIVE
    assert world.deliver() == [TransactionKind.COLLATERAL] * 2
    world.mine()
    world.travel(300)
    assert world.step() is ATTESTED
    world.until(LIVE)
    assert world.stored.evaluation_number == 19
    world.travel(300)
    assert world.step() is LIVE
    assert world.deliver() == []


def test_evaluation_that_the_policy_refuses_leaves_the_key_counting_to_its_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.until(LIVE)
    world.travel(DAY_S)
    world.source.evaluation_number, world.source.status = 19, "OutOfDate"
    world.step()
    world.deliver()
    world.mine()
    world.travel(300)
    assert world.step() is ATTESTED
    refuse(world)
    assert world.step() is LIVE
    assert "StatusNotAccepted" in errors(caplog)[-1]
    assert "StatusNotAccepted" in str(world.stored.refusal)
    assert world.bench.store.enclaves.counts(world.signer)
    world.travel(HOUR_S)
    assert world.step() is ATTESTED  # perhaps the policy was changed
    refuse(world)
    world.travel(world.live_until_s - world.now_s + 1)
    world.until(ATTESTED)
    assert not world.bench.store.enclaves.counts(world.signer)
    refuse(world)
    assert world.step() is DEAD


def test_revoked_key_is_an_alarm_and_signs_nothing_any_more(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.until(LIVE)
    before, other = world.bench.ask(1), world.bench.ask(2)
    work(replace(world.bench.execute, work_s=0.0001))
    del world.registry.live[world.signer]
    world.step()
    assert "does not count it any more" in errors(caplog)[0]
    late = world.bench.ask(3)
    assert work(world.bench.execute) == 0
    assert world.bench.state(late) is RequestState.PENDING
    executed = [it for it in (before, other) if world.bench.state(it) is RequestState.EXECUTED]
    for request_id in executed:
        submit(world.bench.submit, request_id)
    assert [it.newest.kind for it in world.sent] == []
    assert {world.bench.state(it) for it in executed} == {RequestState.EXECUTED}
    world.until(LIVE)
    assert world.woken == [world.signer] * 2
    assert work(world.bench.execute) > 0


def test_enclave_that_restarts_is_registered_beside_the_old_one(world: World) -> None:
    world.until(LIVE)
    world.bench.enclave = FakeEnclave()
    world.until(LIVE)
    assert [stored.state for stored in world.bench.store.enclaves.newest()] == [LIVE, LIVE]


def test_worker_that_restarts_confirms_what_was_live(world: World) -> None:
    world.until(LIVE)
    world.travel(60)
    world.dependencies = replace(world.dependencies, started_at_ms=world.bench.now_ms(), check_at_s={})
    renewals = metrics.value("renewals")
    assert world.step() is LIVE
    assert world.stored.seen_at_ms == world.bench.now_ms()
    assert (world.woken, metrics.value("renewals")) == ([world.signer] * 2, renewals)


# --- all of it ---

EVENTS = ("deliver", "mine", "refuse", "away", "back", "evaluate", "revoke", "minute", "day", "week")


def happen(world: World, event: str) -> None:
    match event:
        case "step":
            ensure_registered(world.dependencies, world.bench.enclave)
        case "deliver":
            assert world.deliver().count(REGISTER) <= 1  # never two in flight
        case "mine":
            world.mine()
        case "refuse":
            refuse(world)
        case "away" | "back":
            world.source.error = CollateralUnavailableError("away") if event == "away" else None
        case "evaluate":
            world.source.evaluation_number += 1
        case "revoke":
            world.registry.live.pop(world.signer, None)
        case _:
            world.travel({"minute": 60, "day": DAY_S, "week": 7 * DAY_S}[event])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(EVENTS) | st.just("step"), max_size=40))
def test_register_whatever_happens_ends_registered(happening: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory, open_bench(Path(directory)) as bench:
        world = open_world(bench)
        for event in happening:
            happen(world, event)
        world.source.error = None
        world.travel(2 * HOUR_S)
        world.until(LIVE, most=30)
        assert world.stored.live_until_s == world.live_until_s
        assert world.bench.store.enclaves.counts(world.signer)
