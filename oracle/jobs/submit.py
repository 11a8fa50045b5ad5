"""
Bring receipts, expiries and registrations to the chain: EXECUTED -> SUBMITTED.

Alone when idle, in batches under load: whatever else the same enclave signed and nobody submitted yet goes into the
same transaction, under one signature of that enclave, if it can be reached from here. A receipt that the chain would
refuse does not hold the others up. What does not pay for its gas waits; where several operators serve the pool, what is
another's turn waits as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from oracle import metrics, tracing
from oracle.chain.contracts import encode_expire, encode_register
from oracle.chain.errors import RevertedError
from oracle.chain.gas import MAX_TRANSACTION_GAS, SHARED_USE_GAS, delivery_use_gas, expiry_gas
from oracle.chain.submitter import Submitter
from oracle.errors import EnclaveError, InvalidInputError, RetryableError
from oracle.jobs.collateral import chain_evidence
from oracle.jobs.delivery import Deliveries
from oracle.jobs.ports import Enclave
from oracle.jobs.profit import Offer, paying
from oracle.jobs.register import note_refusal
from oracle.jobs.sharing import turn_ms
from oracle.store.errors import ConflictError
from oracle.store.outbox import Group, Item
from oracle.store.rows import EnclaveState, RequestState
from oracle.store.store import Store
from oracle.types.ids import Address, PoolId, RequestId, hex_of
from oracle.types.pool import Pool
from oracle.types.transaction import TransactionKind

_LOG = logging.getLogger(__name__)
_PAUSE_MS = 2_000  # before what was refused goes along again, doubled with every attempt
_MAX_PAUSE_MS = 60_000
_TURN_MARGIN_MS = 1_000
GIVEN_UP = "given up: "
OpenAmong = Callable[[PoolId, Sequence[RequestId]], set[RequestId]]


@dataclass(frozen=True, slots=True)
class SubmitDependencies:
    """What the submitting jobs work with."""

    store: Store
    submitter: Submitter
    enclave_registry: Address
    signing_enclave: Callable[[Address], Enclave | None]  # the enclave with this key, if it can be reached
    max_batch: int = 256
    max_gas: int = MAX_TRANSACTION_GAS  # of one transaction
    minimum_profit_wei: int | None = None  # per request; None: what it costs does not matter
    give_up_before_s: int = 3  # the deadline: what did not pay until then never will
    peers: tuple[Address, ...] = ()  # operators who serve the same pool
    backoff_ms: int = 10_000  # between their turns
    open_among: OpenAmong | None = None  # asks the chain, where somebody else may have been faster
    hold_ms: int = 30_000  # longer than sending takes: what a killed submitter held is free again then
    work_s: float = 1.0  # per wake-up call, so that other messages have their turn
    gather_s: float = 0.0  # from one transaction to the next, for more receipts to go together
    sent_at_s: list[float] = field(default_factory=lambda: [0.0])  # by time.monotonic

    @property
    def holder(self) -> str:
        """Who takes receipts from the store."""
        return hex_of(self.submitter.account)

    @property
    def deliveries(self) -> Deliveries:
        """What makes transactions of receipts."""
        return Deliveries(self.submitter, self.signing_enclave, self.max_gas)


def submit(dependencies: SubmitDependencies, request_id: RequestId) -> RequestId | None:
    """
    Send the receipt of `request_id`, if it is EXECUTED and nobody else has it, and under load others along with it,
    until none of that enclave is left. If time is up before that, the request to go on with is returned.

    A receipt that the chain refuses now stays EXECUTED with the reason: the sweeper repeats it, ever more rarely, until
    the deadline.

    Raises:
        RetryableError: the node is away, gas is too dear, or the relay has no money.
    """
    _gather(dependencies)
    outbox, now_ms = dependencies.store.outbox, dependencies.submitter.now_ms()
    until_ms = now_ms + dependencies.hold_ms
    batch = outbox.take(request_id, dependencies.holder, now_ms, until_ms, dependencies.max_batch)
    return _submit_all(dependencies, batch, request_id)


def submit_waiting(dependencies: SubmitDependencies) -> RequestId | None:
    """
    Send whatever is EXECUTED and waits for nothing, whoever signed it, as `submit`. With this after every message, a
    message that waits in the queue stands for all receipts that are stored before it is answered.
    """
    done = set[Address]()
    while group := dependencies.store.outbox.waiting(dependencies.holder, dependencies.submitter.now_ms(), done):
        done.add(group.signer)
        if dependencies.store.enclaves.may_deliver(group.signer):
            _gather(dependencies)
            left = _submit_all(dependencies, _take_like(dependencies, group))
            if left is not None:
                return left
    return None


def _take_like(dependencies: SubmitDependencies, group: Group) -> list[Item]:
    now_ms, most = dependencies.submitter.now_ms(), dependencies.max_batch
    return dependencies.store.outbox.take_like(group, dependencies.holder, now_ms, now_ms + dependencies.hold_ms, most)


def _submit_all(
    dependencies: SubmitDependencies, batch: list[Item], first: RequestId | None = None
) -> RequestId | None:
    """Send `batch` and all that can go with it, in as many transactions as it takes."""
    outbox, holder, now_ms = dependencies.store.outbox, dependencies.holder, dependencies.submitter.now_ms
    until_s = time.monotonic() + dependencies.work_s
    while batch:
        if time.monotonic() > until_s:
            outbox.release([stored.request_id for stored, _ in batch], holder)
            return batch[0][0].request_id
        sent, is_over, started_ms = list[RequestId](), False, now_ms()
        try:
            sent = _deliver(dependencies, batch)
            is_over = not sent
        except ConflictError as error:
            if isinstance(error, RetryableError):
                raise
        finally:
            if len(sent) < len(batch):
                outbox.release([stored.request_id for stored, _ in batch], holder)
        _tell(sent, first, started_ms, now_ms())
        if is_over or len(batch) == 1:
            return None
        if len(sent) == len(batch) < dependencies.max_batch:
            _gather(dependencies)
        batch = _take_like(dependencies, Group.of(batch[0]))
    return None


def _gather(dependencies: SubmitDependencies) -> None:
    """Let some more receipts come together, if the last transaction was a moment ago: an idle pool never waits."""
    wait_s = dependencies.sent_at_s[0] + dependencies.gather_s - time.monotonic()
    if wait_s > 0:
        time.sleep(wait_s)


def _tell(sent: Sequence[RequestId], first: RequestId | None, started_ms: int, ended_ms: int) -> None:
    for sent_id in sent:
        _LOG.info("submitted with %d others", len(sent) - 1, extra={"request_id": hex_of(sent_id)})
        if sent_id != first:  # which has its span around the whole task
            tracing.record("submit", sent_id, started_ms, ended_ms)


def _deliver(dependencies: SubmitDependencies, batch: Sequence[Item]) -> list[RequestId]:
    """Send what can go now of what we hold, in one transaction. Returns the requests that went."""
    if not dependencies.store.enclaves.may_deliver(batch[0][1].signer):
        return []  # its registration ended, or is not sent yet: then its worker wakes all that wait
    ready = _whose_turn_it_is(dependencies, batch)
    ready = _that_pay(dependencies, dependencies.deliveries.fitting(ready) if ready else ready)
    if len(ready) > 1:
        ready = _that_never_failed(dependencies, ready)
    return _send(dependencies, ready) if ready else []


def _send(dependencies: SubmitDependencies, batch: Sequence[Item]) -> list[RequestId]:
    deliveries = dependencies.deliveries
    try:
        settlement = deliveries.settlement(batch) or deliveries.settlement(batch[:1])
        assert settlement is not None
        dependencies.submitter.send(
            TransactionKind.FULFILL, settlement.subjects, settlement.to, settlement.data, settlement.gas_limit
        )
        dependencies.sent_at_s[0] = time.monotonic()
    except (RevertedError, EnclaveError) as error:
        if len(batch) > 1 and not _is_about_the_enclave(error):
            return _send_without_the_refused(dependencies, batch)
        _refuse(dependencies, batch[0], error)
        return []
    return [RequestId(subject) for subject in settlement.subjects]


def _send_without_the_refused(dependencies: SubmitDependencies, batch: Sequence[Item]) -> list[RequestId]:
    """Find out whom the chain would refuse, put them aside, and send the others."""
    refused = dependencies.deliveries.refused(batch)
    for item, error in refused:
        _refuse(dependencies, item, error)
    if not refused:  # only together: one goes alone
        return _send(dependencies, batch[:1])
    aside = {stored.request_id for (stored, _), _ in refused}
    others = [item for item in batch if item[0].request_id not in aside]
    return _send(dependencies, others) if others else []


def _refuse(dependencies: SubmitDependencies, item: Item, error: Exception) -> None:
    stored, receipt = item
    _LOG.warning("not accepted now: %s", error, extra={"request_id": hex_of(stored.request_id)})
    if _is_about_the_enclave(error):
        dependencies.store.requests.note(stored.request_id, str(error))  # with its enclave's registration it goes
        _notice_death(dependencies, receipt.signer, error)
    else:
        dependencies.store.outbox.postpone(stored.request_id, _later_ms(dependencies, item), str(error))


def _notice_death(dependencies: SubmitDependencies, signer: Address, error: Exception) -> None:
    """
    The chain does not count what we believe to be registered. Its worker would notice as well, unless the enclave has
    ended meanwhile; if it has not, the worker puts it right.
    """
    known = dependencies.store.enclaves.get(signer)
    if known is not None and known.live_until_s:
        dependencies.store.enclaves.record_dead(signer, str(error))


def _is_about_the_enclave(error: Exception) -> bool:
    """Whether no receipt of that enclave would be accepted now."""
    return isinstance(error, RevertedError) and error.name.startswith(("Signer", "Measurement", "Platform"))


def _later_ms(dependencies: SubmitDependencies, item: Item) -> int:
    return dependencies.submitter.now_ms() + min(_MAX_PAUSE_MS, _PAUSE_MS << min(item[0].attempts, 16))


def _that_never_failed(dependencies: SubmitDependencies, batch: Sequence[Item]) -> list[Item]:
    """
    Without those that failed before and would fail again. A closed request does not make a batch fail, but it is paid
    for: so they are tried alone, and where somebody else may have settled it, the chain is asked about all.
    """
    good, open_ids = [], {stored.request_id for stored, _ in batch}
    if dependencies.open_among is not None:
        open_ids = dependencies.open_among(batch[0][0].request.pool_id, [stored.request_id for stored, _ in batch])
    for item in batch:
        stored, _ = item
        if stored.request_id not in open_ids:
            dependencies.store.outbox.postpone(
                stored.request_id, _later_ms(dependencies, item), "it is settled already"
            )
            continue
        refused = dependencies.deliveries.refused([item]) if stored.attempts else []
        if not refused:
            good.append(item)
        for _, error in refused:
            _refuse(dependencies, item, error)
            if _is_about_the_enclave(error):
                return []  # so it is for the others
    return good


def _whose_turn_it_is(dependencies: SubmitDependencies, batch: Sequence[Item]) -> list[Item]:
    """Those that it is our turn to deliver; the others wait for it."""
    if not dependencies.peers:
        return list(batch)
    ours, now_ms = [], dependencies.submitter.now_ms()
    for item in batch:
        stored, receipt = item
        turn = turn_ms(
            stored.request_id,
            receipt.receipt.payee,
            dependencies.peers,
            dependencies.backoff_ms,
            stored.seen_at_ms,
            stored.request.deadline_s * 1_000 - _TURN_MARGIN_MS,
        )
        if turn <= now_ms:
            ours.append(item)
        else:
            dependencies.store.outbox.postpone(stored.request_id, turn)
    return ours


def _that_pay(dependencies: SubmitDependencies, batch: Sequence[Item]) -> list[Item]:
    """
    Those whose fee pays for the gas at the present base fee. The others wait: it may fall. Near the deadline they are
    given up.
    """
    minimum_wei = dependencies.minimum_profit_wei
    if minimum_wei is None or not batch:
        return list(batch)
    submitter = dependencies.submitter
    base_fee = submitter.node.account(submitter.account).base_fee_per_gas
    gas_price_wei = base_fee + submitter.policy.max_priority_fee_per_gas
    offers = [_offer(item) for item in batch]
    pays = paying(offers, gas_price_wei, SHARED_USE_GAS, minimum_wei)
    for item, offer, is_worth_it in zip(batch, offers, pays, strict=True):
        if not is_worth_it:
            gas = offer.gas + SHARED_USE_GAS
            _wait_for_cheaper_gas(
                dependencies,
                item,
                f"its fee of {offer.fee_wei} wei does not pay for {gas} gas at {gas_price_wei} wei",
            )
    return [item for item, is_worth_it in zip(batch, pays, strict=True) if is_worth_it]


def _offer(item: Item) -> Offer:
    stored, receipt = item
    request, size = stored.request, len(receipt.output)
    fuel_used = receipt.receipt.fuel_used
    fee_wei = Pool.from_id(request.pool_id).fee_wei(request.callback_gas, fuel_used, size, request.max_fee_wei)
    return Offer(fee_wei, delivery_use_gas(receipt.output, request.callback_gas))


def _wait_for_cheaper_gas(dependencies: SubmitDependencies, item: Item, reason: str) -> None:
    stored, _ = item
    deadline_ms = stored.request.deadline_s * 1_000
    later_ms, last_ms = _later_ms(dependencies, item), deadline_ms - dependencies.give_up_before_s * 1_000
    outbox, about = dependencies.store.outbox, {"request_id": hex_of(stored.request_id)}
    if dependencies.submitter.now_ms() < last_ms:
        _LOG.info("waiting for cheaper gas: %s", reason, extra=about)
        outbox.postpone(stored.request_id, min(later_ms, last_ms), reason)
        return
    if not (stored.reason or "").startswith(GIVEN_UP):
        metrics.count("receipts_given_up", reason="unprofitable")
        _LOG.warning("%s%s", GIVEN_UP, reason, extra=about)
    outbox.postpone(stored.request_id, deadline_ms, GIVEN_UP + reason)


def expire(dependencies: SubmitDependencies, request_id: RequestId) -> None:
    """
    Send `expire` for an open request whose deadline is past, unless it is on its way.

    Raises:
        RetryableError: as `submit`.
    """
    stored = dependencies.store.requests.get(request_id)
    if stored is None or stored.state in (RequestState.SETTLED, RequestState.EXPIRED):
        return
    if dependencies.store.journal.is_in_flight(TransactionKind.EXPIRE, request_id):
        return
    data = encode_expire(request_id, stored.request.pool_id)
    try:
        dependencies.submitter.send(
            TransactionKind.EXPIRE, [request_id], stored.request.coprocessor, data, expiry_gas(data)
        )
    except RevertedError as error:
        _LOG.info("cannot expire now: %s", error, extra={"request_id": hex_of(request_id)})


def submit_registration(dependencies: SubmitDependencies, signer: Address) -> None:
    """
    Send the registration of an ATTESTED enclave.

    Raises:
        RetryableError: as `submit`.
    """
    enclave = dependencies.store.enclaves.get(signer)
    if enclave is None or enclave.state is not EnclaveState.ATTESTED:
        return
    registry = dependencies.enclave_registry
    try:
        evidence = chain_evidence(enclave.quote)
        data = encode_register(signer, enclave.sealing_key, enclave.operator, enclave.anchor_block, evidence)
        gas = dependencies.submitter.node.estimate(dependencies.submitter.account, registry, data)
        dependencies.submitter.send(TransactionKind.REGISTER, [signer], registry, data, gas + gas // 4)
    except ConflictError:
        return
    except (RevertedError, InvalidInputError) as error:
        note_refusal(dependencies.store.enclaves, signer, str(error), dependencies.submitter.now_ms())
