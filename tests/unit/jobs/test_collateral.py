"""The verifier on chain gets what it lacks, once, and what cannot be had or is refused is an alarm."""

from __future__ import annotations

import logging

import pytest

from oracle import metrics
from oracle.attestation.dcap.quote import Quote, parse_quote
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.errors import CollateralError
from oracle.attestation.sources import CollateralUnavailableError
from oracle.chain.errors import RevertedError
from oracle.errors import InvalidInputError, RetryableError
from oracle.jobs.collateral import CollateralDependencies, Supply, chain_evidence, submit_call, supply
from oracle.types.transaction import TransactionKind
from tests.fakes import PKI
from tests.unit.jobs.life_cycle import DAY_S, World, world

__all__ = ["world"]

QUOTE = parse_quote(PKI.quote(QuoteKind.SGX_V3, bytes(32)))
ROUNDS = [1, 2, 4]  # how many calls go together: the root's list, issuers, and what these signed


def supplied(world: World) -> Supply:
    """When nothing is missing any more."""
    for _ in range(len(ROUNDS) + 1):
        found = supply(world.dependencies.collateral, QUOTE)
        if found.is_complete:
            return found
        world.deliver()
        world.mine()
    raise AssertionError("never supplied")


def test_supply_of_an_empty_verifier_takes_three_rounds(world: World) -> None:
    for count in ROUNDS:
        found = supply(world.dependencies.collateral, QUOTE)
        assert (found.is_usable, found.is_complete) == (False, False)
        assert world.deliver() == [TransactionKind.COLLATERAL] * count
        world.mine()
    found = supply(world.dependencies.collateral, QUOTE)
    assert found == Supply(True, True, 18, world.now_s - 3_600 + 30 * DAY_S)
    assert world.bench.queue.woken == []


def test_supply_asked_again_and_again_sends_each_call_once(world: World) -> None:
    world.source.issued_s = world.now_s - 3_600
    for _ in range(3):
        supply(world.dependencies.collateral, QUOTE)
    assert world.deliver() == [TransactionKind.COLLATERAL]
    supply(world.dependencies.collateral, QUOTE)
    assert world.deliver() == [TransactionKind.COLLATERAL]  # still the one
    message = world.sent[0].newest.subjects[0]
    world.mine()
    world.bench.node.reverts = RevertedError("NotNewer", (1, 1))
    submit_call(world.bench.store, world.bench.submitter, message)  # a message that comes late
    assert world.sent == []


def test_supply_of_ageing_documents_is_usable_meanwhile(world: World) -> None:
    first = supplied(world)
    world.travel(23 * DAY_S + 1)
    found = supply(world.dependencies.collateral, QUOTE)
    assert (found.is_usable, found.is_complete) == (True, False)
    assert world.deliver() == [TransactionKind.COLLATERAL] * 4
    world.mine()
    assert supply(world.dependencies.collateral, QUOTE).valid_until_s > first.valid_until_s


def test_supply_names_the_lower_evaluation_of_both_documents(world: World) -> None:
    supplied(world)
    world.travel(60)
    world.source.evaluation_number = 19
    assert supply(world.dependencies.collateral, QUOTE).evaluation_number == 18
    found, refused = world.deliver(), world.sent[1]
    assert found == [TransactionKind.COLLATERAL] * 2
    world.verifier.call(world.sent[0].newest.data)
    assert supply(world.dependencies.collateral, QUOTE).evaluation_number == 18
    world.verifier.call(refused.newest.data)
    assert supply(world.dependencies.collateral, QUOTE).evaluation_number == 19


def failures() -> float:
    return metrics.value("collateral_failures")


@pytest.mark.parametrize("error", [CollateralUnavailableError("away"), CollateralError("no"), InvalidInputError("odd")])
def test_supply_without_collateral_is_counted(world: World, error: Exception) -> None:
    world.source.error, before = error, failures()
    with pytest.raises(type(error)):
        supply(world.dependencies.collateral, QUOTE)
    assert failures() == before + 1


def test_supply_without_the_chain_is_not_the_collaterals_failure(world: World) -> None:
    world.source.error, before = RetryableError("the node is away"), failures()
    with pytest.raises(RetryableError):
        supply(world.dependencies.collateral, QUOTE)
    assert failures() == before


def test_supply_out_of_date_with_nothing_newer_is_refused(world: World) -> None:
    world.source.issued_s = world.now_s - 3_600
    supplied(world)
    world.travel(31 * DAY_S)
    with pytest.raises(CollateralError, match="nothing newer"):
        supply(world.dependencies.collateral, QUOTE)


def test_supply_that_the_contract_refuses_says_why_and_tries_again_a_minute_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.source.issued_s, before = world.now_s - 3_600, failures()
    world.bench.node.reverts = RevertedError("SerialRevoked", (1, 7))
    assert not supply(world.dependencies.collateral, QUOTE).is_usable
    assert world.deliver() == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    for _ in range(2):
        with pytest.raises(CollateralError, match=r"refreshRootCrl: .*SerialRevoked"):
            supply(world.dependencies.collateral, QUOTE)
    assert world.deliver() == []
    assert failures() == before + 3  # the contract's, and twice ours
    world.bench.node.reverts = None
    world.travel(61)
    supply(world.dependencies.collateral, QUOTE)
    assert world.deliver() == [TransactionKind.COLLATERAL]


def test_supply_that_is_usable_survives_a_refusal(world: World) -> None:
    supplied(world)
    world.travel(23 * DAY_S + 1)
    world.source.issued_s = world.now_s - 3_600
    supply(world.dependencies.collateral, QUOTE)
    world.bench.node.reverts = RevertedError("CrlUnsupported", (5,))
    assert world.deliver() == []
    found = supply(world.dependencies.collateral, QUOTE)
    assert (found.is_usable, found.is_complete) == (True, False)


@pytest.mark.parametrize("name", ["NotNewer", "EvaluationNumberLower"])
def test_submit_call_that_came_too_late_is_forgotten(world: World, caplog: pytest.LogCaptureFixture, name: str) -> None:
    before = failures()
    call_id = world.bench.store.calls.put(world.verifier.address, b"data", world.bench.now_ms())
    world.bench.node.reverts = RevertedError(name, (2, 1))
    submit_call(world.bench.store, world.bench.submitter, call_id)
    assert (world.bench.store.calls.get(call_id), world.bench.store.calls.refusal(call_id)) == (None, None)
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == []
    assert (world.sent, failures()) == ([], before)


def test_submit_call_unknown_or_in_flight_sends_nothing(world: World) -> None:
    submit_call(world.bench.store, world.bench.submitter, b"\x01" * 32)
    assert world.sent == []
    call_id = world.bench.store.calls.put(world.verifier.address, b"data", world.bench.now_ms())
    for _ in range(2):
        submit_call(world.bench.store, world.bench.submitter, call_id)
    assert len(world.sent) == 1


def test_submit_call_with_the_node_away_keeps_the_call(world: World) -> None:
    call_id = world.bench.store.calls.put(world.verifier.address, b"data", world.bench.now_ms())
    world.bench.node.unreachable = True
    with pytest.raises(RetryableError):
        submit_call(world.bench.store, world.bench.submitter, call_id)
    assert world.bench.store.calls.get(call_id) is not None


def test_chain_evidence_of_another_platform_is_refused() -> None:
    assert chain_evidence(PKI.quote(QuoteKind.SGX_V3, bytes(32)))
    with pytest.raises(InvalidInputError):
        chain_evidence(b"\x84\x44 a COSE document of AWS Nitro")


def test_supply_reads_the_source_by_the_chains_clock(world: World) -> None:
    asked: list[int] = []

    class Source:
        def collateral(self, quote: Quote, now_s: int) -> None:
            asked.append(now_s)
            raise CollateralUnavailableError("away")

    own = world.dependencies.collateral
    changed = CollateralDependencies(Source(), own.verifier, own.store, own.queue, lambda: 5, own.now_ms)  # type: ignore[arg-type]
    with pytest.raises(CollateralUnavailableError):
        supply(changed, QUOTE)
    assert asked == [5]
