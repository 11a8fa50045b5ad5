"""
Keep an enclave registered on chain: attest, supply the verifier, submit, watch it become live, renew before it ends.

An enclave makes its keys at boot, so every restart is a new registration. Registrations are renewed with overlap, and
again when Intel re-evaluates the platform. Runs next to the enclaves, in each worker process. What fails is an alarm:
logged when it is news, counted each time, kept with its reason for `adyton status` and `adyton doctor`. A registration
that still counts goes on counting whatever becomes of its renewal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from oracle import metrics
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.errors import CollateralError
from oracle.attestation.sources import CollateralUnavailableError
from oracle.enclave.protocol import Description
from oracle.errors import AdytonError, RetryableError
from oracle.jobs.collateral import CollateralDependencies, supply
from oracle.jobs.ports import Enclave, Queue
from oracle.store.enclaves import MAX_REASON, Enclaves
from oracle.store.rows import EnclaveState, StoredEnclave
from oracle.store.store import Store
from oracle.types.block import BlockRef
from oracle.types.ids import Address, MeasurementId, hex_of
from oracle.types.transaction import TransactionKind

_LOG = logging.getLogger(__name__)


class Registry(Protocol):
    """What registration reads from the chain. Every method may raise `RetryableError`."""

    def anchor(self) -> BlockRef:
        """A recent block that no reorganisation is likely to remove."""
        ...

    def live_until(self, signer: Address) -> int:
        """The last second in which `signer` counts, 0 if it does not count now."""
        ...


@dataclass(frozen=True, slots=True)
class RegisterDependencies:
    """What `ensure_registered` works with."""

    store: Store
    registry: Registry
    queue: Queue
    collateral: CollateralDependencies
    chain_id: int
    registry_address: Address
    operator: Address
    now_ms: Callable[[], int]
    wake_receipts: Callable[[Address], None]  # submit what this enclave signed before it was live
    started_at_ms: int = 0  # of this process: what was live before is confirmed once
    renew_before_s: int = 24 * 3_600
    give_up_after_ms: int = 60_000  # on a quote that nobody submits: attest again
    retry_after_ms: int = 10_000  # what was refused, unless the key still counts
    check_collateral_s: int = 3_600
    check_again_s: int = 300  # when some was on its way, or there was none to be had
    check_at_s: dict[Address, int] = field(default_factory=dict)


def ensure_registered(dependencies: RegisterDependencies, enclave: Enclave) -> EnclaveState:
    """
    Take the next step towards `enclave` being registered, and return where it stands. Call it again and again.

    Raises:
        RetryableError: enclave, chain or store is away.
        EnclaveError: the enclave does not say who it is.
    """
    description = enclave.describe()
    known = dependencies.store.enclaves.get(description.signer)
    now_ms = dependencies.now_ms()
    if known is not None and known.state is EnclaveState.ATTESTED and not _is_old(dependencies, known, now_ms):
        dependencies.queue.register(known.signer)
        return known.state
    live_until_s = dependencies.registry.live_until(description.signer)
    if known is not None:
        known = _notice_death(dependencies, known, live_until_s)
        if _is_on_its_way(dependencies, known, live_until_s, now_ms):
            return known.state
        if live_until_s and not _is_due(dependencies, known, live_until_s):
            _record_live(dependencies, known, live_until_s, now_ms)
            return EnclaveState.LIVE
        if now_ms < known.refused_at_ms + _pause_ms(dependencies, live_until_s):
            return known.state
    try:
        return _attest(dependencies, enclave, known, live_until_s)
    except AdytonError as error:
        if isinstance(error, RetryableError) and not isinstance(error, CollateralUnavailableError):
            raise
        if dependencies.store.enclaves.get(description.signer) is None:
            dependencies.store.enclaves.record_quote(_stored(dependencies, description, EnclaveState.DEAD))
        note_refusal(dependencies.store.enclaves, description.signer, str(error), now_ms)
        return EnclaveState.LIVE if live_until_s else EnclaveState.DEAD


def note_refusal(enclaves: Enclaves, signer: Address, reason: str, now_ms: int) -> None:
    """An attempt to register or renew failed."""
    known = enclaves.get(signer)
    is_news = known is None or known.refusal != reason[:MAX_REASON]
    _LOG.log(logging.ERROR if is_news else logging.DEBUG, "cannot register enclave %s: %s", hex_of(signer), reason)
    metrics.count("renewal_failures")
    enclaves.record_refusal(signer, reason, now_ms)


def _notice_death(dependencies: RegisterDependencies, known: StoredEnclave, live_until_s: int) -> StoredEnclave:
    """What is known, after the registry stopped counting a key that was live: revoked, or out of time."""
    if live_until_s or not known.live_until_s:
        return known
    reason = "the registry does not count it any more"
    _LOG.error("enclave %s: %s", hex_of(known.signer), reason)
    dependencies.store.enclaves.record_dead(known.signer, reason)
    return dependencies.store.enclaves.get(known.signer) or known


def _is_on_its_way(dependencies: RegisterDependencies, known: StoredEnclave, live_until_s: int, now_ms: int) -> bool:
    """Whether a registration is submitted, and not in force yet."""
    if known.state is not EnclaveState.SUBMITTED or live_until_s > known.live_until_s:
        return False
    if dependencies.store.journal.is_in_flight(TransactionKind.REGISTER, known.signer):
        return True
    return not live_until_s and not _is_old(dependencies, known, now_ms)


def _record_live(dependencies: RegisterDependencies, known: StoredEnclave, live_until_s: int, now_ms: int) -> None:
    is_news = known.state is not EnclaveState.LIVE or known.live_until_s != live_until_s
    if is_news or known.seen_at_ms < dependencies.started_at_ms:
        dependencies.store.enclaves.record_live(known.signer, live_until_s, now_ms)
        _LOG.info("enclave %s is registered", hex_of(known.signer), extra={"live_until_s": live_until_s})
        dependencies.wake_receipts(known.signer)
    if is_news:
        metrics.count("renewals")


def _is_due(dependencies: RegisterDependencies, known: StoredEnclave, live_until_s: int) -> bool:
    """
    Whether a live key is to be attested again: the last attempt failed; or it has less than a day to live (or than a
    quarter of its life, if that is shorter); or the verifier judges its machine by a newer evaluation than then.
    """
    if live_until_s > known.live_until_s or known.state is EnclaveState.SUBMITTED:
        return False  # an attempt has just succeeded
    if known.state is not EnclaveState.LIVE or known.refusal is not None:
        return True
    now_s = dependencies.collateral.now_s()
    left_s, whole_s = live_until_s - now_s, live_until_s - known.seen_at_ms // 1_000
    return left_s <= min(dependencies.renew_before_s, whole_s // 4) or _is_evaluated_anew(dependencies, known, now_s)


def _is_evaluated_anew(dependencies: RegisterDependencies, known: StoredEnclave, now_s: int) -> bool:
    """Looks after the collateral of a live key, every hour."""
    if now_s < dependencies.check_at_s.get(known.signer, 0):
        return False
    dependencies.check_at_s[known.signer] = now_s + dependencies.check_again_s
    try:
        supplied = supply(dependencies.collateral, parse_quote(known.quote))
    except AdytonError as error:
        _LOG.error("cannot keep the collateral of enclave %s fresh: %s", hex_of(known.signer), error)
        return False
    if supplied.is_complete:
        dependencies.check_at_s[known.signer] = now_s + dependencies.check_collateral_s
    if supplied.evaluation_number <= known.evaluation_number:
        return False
    _LOG.warning("the platform of enclave %s was evaluated anew: attesting again", hex_of(known.signer))
    return True


def _is_old(dependencies: RegisterDependencies, known: StoredEnclave, now_ms: int) -> bool:
    return now_ms - known.seen_at_ms > dependencies.give_up_after_ms


def _pause_ms(dependencies: RegisterDependencies, live_until_s: int) -> int:
    """How long after a refusal to try again: soon, or by and by while the key still counts."""
    if not live_until_s:
        return dependencies.retry_after_ms
    left_s = live_until_s - dependencies.collateral.now_s()
    return max(dependencies.retry_after_ms, 1_000 * min(dependencies.check_collateral_s, left_s // 100))


def _attest(
    dependencies: RegisterDependencies, enclave: Enclave, known: StoredEnclave | None, live_until_s: int
) -> EnclaveState:
    """Bring what the verifier lacks; when it lacks nothing, store a fresh quote and have it submitted."""
    number = 0 if known is None else known.evaluation_number
    is_waiting = known is not None and known.state is EnclaveState.SUPPLYING
    if known is None or not is_waiting or _is_old(dependencies, known, dependencies.now_ms()):
        known = _quoted(dependencies, enclave, EnclaveState.SUPPLYING, number)
    supplied = supply(dependencies.collateral, parse_quote(known.quote))
    is_ending = live_until_s <= dependencies.collateral.now_s() + dependencies.renew_before_s
    is_in_vain = is_ending and supplied.valid_until_s <= live_until_s
    if not supplied.is_usable or (is_in_vain and not supplied.is_complete):
        return EnclaveState.SUPPLYING
    if is_in_vain:
        raise CollateralError("the collateral on chain ends no later than the registration, and there is none newer")
    attested = _quoted(dependencies, enclave, EnclaveState.ATTESTED, supplied.evaluation_number)
    _LOG.info("attested enclave %s", hex_of(attested.signer), extra={"anchor_block": attested.anchor_block})
    dependencies.queue.register(attested.signer)
    return EnclaveState.ATTESTED


def _quoted(
    dependencies: RegisterDependencies, enclave: Enclave, state: EnclaveState, evaluation_number: int
) -> StoredEnclave:
    """A new quote over a recent block, stored."""
    anchor = dependencies.registry.anchor()
    quote = enclave.attest(dependencies.chain_id, dependencies.registry_address, dependencies.operator, anchor.hash)
    new = _stored(dependencies, enclave.describe(), state)
    stored = replace(new, quote=quote, anchor_block=anchor.number, evaluation_number=evaluation_number)
    dependencies.store.enclaves.record_quote(stored)
    return stored


def _stored(dependencies: RegisterDependencies, description: Description, state: EnclaveState) -> StoredEnclave:
    return StoredEnclave(
        signer=description.signer,
        sealing_key=description.sealing_key,
        measurement=MeasurementId(description.measurement),
        operator=dependencies.operator,
        state=state,
        quote=b"",
        anchor_block=0,
        live_until_s=0,
        seen_at_ms=dependencies.now_ms(),
    )
