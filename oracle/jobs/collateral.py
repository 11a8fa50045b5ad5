"""
Keep the attestation verifier on chain supplied: fetch collateral, see what the chain lacks, have it sent.

Runs before a registration and every hour after it: documents are brought again long before they end, and at once when
Intel re-evaluates or revokes something. Anyone may bring collateral, so several pools share the cost: what somebody
else has brought meanwhile is simply not needed any more. What else the contract refuses is an alarm, and is tried again
a minute later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from oracle import metrics
from oracle.attestation.dcap.onchain import DEFAULT_MARGIN_S, Bundle, Held, Step, is_usable, ready, steps
from oracle.attestation.dcap.quote import Quote, parse_quote
from oracle.attestation.dcap.trim import onchain_evidence
from oracle.attestation.errors import CollateralError
from oracle.attestation.sources import CollateralSource, CollateralUnavailableError
from oracle.chain.dcap import calldata
from oracle.chain.errors import RevertedError
from oracle.chain.submitter import Submitter
from oracle.errors import AttestationError, InvalidInputError
from oracle.jobs.ports import Queue
from oracle.store.store import Store
from oracle.types.ids import Address, hex_of
from oracle.types.transaction import TransactionKind

_LOG = logging.getLogger(__name__)
_KEPT_MS: Final = 60_000  # a call that nobody sent by then is forgotten, and made again if it is still needed
_TOO_LATE: Final = ("NotNewer", "EvaluationNumberLower")  # somebody else was faster


class Verifier(Protocol):
    """What is read of the verifier on chain. Every method may raise `RetryableError`."""

    @property
    def address(self) -> Address:
        """Where it is."""
        ...

    def held(self, bundle: Bundle) -> Held:
        """What it has of this bundle."""
        ...


@dataclass(frozen=True, slots=True)
class CollateralDependencies:
    """What `supply` works with."""

    source: CollateralSource
    verifier: Verifier
    store: Store
    queue: Queue
    now_s: Callable[[], int]  # of the chain: its clock decides what has expired
    now_ms: Callable[[], int]
    margin_s: int = DEFAULT_MARGIN_S


@dataclass(frozen=True, slots=True)
class Supply:
    """How well the verifier is supplied for one machine."""

    is_usable: bool  # it can verify the machine's quotes now
    is_complete: bool  # nothing is on its way to it
    evaluation_number: int  # of the documents by which it judges them
    valid_until_s: int  # of the first of them that expires


def supply(dependencies: CollateralDependencies, quote: Quote) -> Supply:
    """
    Have sent what the verifier lacks for this quote's machine.

    If it is usable nothing has to wait for what is on its way: that only replaces what is getting old.

    Raises:
        CollateralUnavailableError: the source does not answer.
        AttestationError, InvalidInputError: what the source gives is no collateral for this quote, or is refused.
        RetryableError: the chain or the store is away.
    """
    try:
        return _supply(dependencies, quote)
    except (AttestationError, InvalidInputError, CollateralUnavailableError):
        metrics.count("collateral_failures")
        raise


def _supply(dependencies: CollateralDependencies, quote: Quote) -> Supply:
    now_s = dependencies.now_s()
    bundle = Bundle.of(quote, dependencies.source.collateral(quote, now_s))
    held = dependencies.verifier.held(bundle)
    missing = ready(steps(bundle, held, now_s, dependencies.margin_s))
    refusals = _have_sent(dependencies, missing)
    is_supplied = is_usable(held, now_s)
    if refusals and not is_supplied:
        raise CollateralError("; ".join(refusals))
    if not missing and not is_supplied:
        raise CollateralError("what the verifier on chain has is out of date, and the source has nothing newer")
    number = min(held.tcb_info.number, held.qe_identity.number)
    return Supply(is_supplied, not missing, number, min(document.valid_until_s for document in held.documents))


def _have_sent(dependencies: CollateralDependencies, missing: Sequence[Step]) -> list[str]:
    """Have these calls sent; which of them were refused, and why."""
    calls, now_ms, refusals = dependencies.store.calls, dependencies.now_ms(), []
    calls.drop_older(now_ms - _KEPT_MS)
    for step in missing:
        call_id = calls.put(dependencies.verifier.address, calldata(step), now_ms)
        refusal = calls.refusal(call_id)
        if refusal is None:
            dependencies.queue.call(call_id)
        else:
            refusals.append(f"{step.function}: {refusal}")
    if missing:
        _LOG.info("bringing collateral to the chain: %s", ", ".join(step.function for step in missing))
    return refusals


def chain_evidence(quote: bytes) -> bytes:
    """
    What the verifier on chain takes for a quote as the platform gave it.

    Raises:
        InvalidInputError: no SGX or TDX quote with its certificates. No chain verifies other platforms' evidence yet:
            their curves and keys have no precompiles.
    """
    return onchain_evidence(parse_quote(quote)).evidence


def submit_call(store: Store, submitter: Submitter, call_id: bytes) -> None:
    """
    Send a call of `supply`, unless it is on its way, or the contract refuses it.

    Raises:
        RetryableError: the node is away, gas is too dear, or the relay has no money.
    """
    call = store.calls.get(call_id)
    if call is None or store.journal.is_in_flight(TransactionKind.COLLATERAL, call_id):
        return
    to, data = call
    about = {"call_id": hex_of(call_id)}
    try:
        gas = submitter.node.estimate(submitter.account, to, data)
        submitter.send(TransactionKind.COLLATERAL, [call_id], to, data, gas + gas // 4)
    except RevertedError as error:
        if error.name in _TOO_LATE:
            _LOG.info("the verifier does not need this collateral: %s", error, extra=about)
            store.calls.drop(call_id)
            return
        _LOG.error("the verifier refuses collateral: %s", error, extra=about)  # expected, no traceback
        metrics.count("collateral_failures")
        store.calls.refuse(call_id, str(error))
