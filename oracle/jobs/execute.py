"""
Have an enclave serve requests: PENDING -> EXECUTED with a receipt, or -> FAILED with a reason.

A message from the queue is a wake-up call and names no request: `work` takes what is next by the store's fair rule,
a few at a time, until nothing is left or its time is up. It takes nothing for an enclave that does not answer, so a
slow or missing enclave leaves the backlog where it is. Receipts are stored together, but none waits for longer than
`_BATCH_US` and one more job. Killed at any point, it costs repeated executions of those at most.

The enclave is trusted for what it signs, not for what it says: the receipt's signature is checked here, against the
request that was asked for, before it is stored. Whether the signer is registered is for the chain to say.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from oracle import log, metrics, tracing
from oracle.crypto.ecdsa import recover
from oracle.crypto.hashing import keccak256
from oracle.enclave.protocol import Execute, ReceiptReply
from oracle.errors import AdytonError, EnclaveError, InvalidInputError, RetryableError
from oracle.jobs.ports import Enclave, Programs, Queue
from oracle.store.consumers import Served
from oracle.store.rows import StoredReceipt
from oracle.store.store import Store
from oracle.store.turns import Taken
from oracle.types.ids import Address, RequestId, hex_of
from oracle.types.receipt import Receipt
from oracle.types.request import Request
from oracle.types.transcript import context_of, encode_transcript

_LOG = logging.getLogger(__name__)
_US = 1_000  # nanoseconds
_BATCH_US = 50_000  # of work are taken at a time: more makes takes cheaper, less makes them fairer
_MAX_BATCH = 64
_WAKE_EVERY_S = 0.1  # the submitter, while there is more to execute: it sends what gathers meanwhile together

Made = tuple[StoredReceipt, Served]  # a receipt that is not stored yet, and what it cost


@dataclass(frozen=True, slots=True)
class ExecuteDependencies:
    """What `work` works with."""

    store: Store
    programs: Programs
    enclave: Callable[[], Enclave]  # one per thread
    queue: Queue
    payee: Address
    now_ms: Callable[[], int]
    deadline_margin_s: int = 0  # less time than this is not enough to settle: the work would be given away
    urgent_within_s: int = 0  # nearer deadlines go first
    worker: str = "worker"  # the same after a restart, and of no other worker
    hold_ms: int = 10_000  # what was taken is free again then, unless `keep_holding` is called meanwhile
    work_s: float = 0.25  # per wake-up call, so that other messages have their turn
    holding: set[RequestId] = field(default_factory=set)  # by any thread of this process


def release(dependencies: ExecuteDependencies) -> None:
    """Let go of what this worker held when it was killed. Call once at start."""
    freed = dependencies.store.turns.release(dependencies.worker)
    if freed:
        _LOG.info("%d requests that this worker held when it ended are free again", freed)


def keep_holding(dependencies: ExecuteDependencies) -> None:
    """
    Hold on to what is being served. Call it a few times per `hold_ms`: when a machine is lost, its work is free soon.

    Raises:
        RetryableError: the store is away.
    """
    until_ms = dependencies.now_ms() + dependencies.hold_ms
    dependencies.store.turns.extend(dependencies.worker, tuple(dependencies.holding), until_ms)


def work(dependencies: ExecuteDependencies) -> int:
    """
    Take requests and serve them, for `work_s` at most; if more are left, another wake-up call is sent. Returns how many
    were served.

    Raises:
        RetryableError: enclave or store is away. What is held then is free when the hold ends.
    """
    wake_ups = _WakeUps(dependencies.queue)
    try:
        return _work(dependencies, wake_ups)
    finally:
        wake_ups.send()


def _work(dependencies: ExecuteDependencies, wake_ups: _WakeUps) -> int:
    until, served, batch = time.monotonic() + dependencies.work_s, 0, 1
    while time.monotonic() < until:
        if not dependencies.store.enclaves.counts(dependencies.enclave().describe().signer):
            return served
        started = time.monotonic()
        taken = dependencies.store.turns.take(
            dependencies.worker,
            batch,
            dependencies.now_ms(),
            dependencies.hold_ms,
            margin_s=dependencies.deadline_margin_s,
            urgent_s=dependencies.urgent_within_s,
        )
        metrics.observe("take_seconds", time.monotonic() - started)
        if not taken:
            return served
        if served == 0:
            dependencies.queue.execute()  # there may be more: for another thread or machine
        begun, ids = time.monotonic_ns(), {item.request_id for item in taken}
        dependencies.holding.update(ids)
        try:
            if not _serve_all(dependencies, taken, wake_ups):
                return served
        finally:
            dependencies.holding.difference_update(ids)
        served += len(taken)
        each_us = max(1, (time.monotonic_ns() - begun) // _US // len(taken))
        batch = max(1, min(_MAX_BATCH, 2 * batch, _BATCH_US // each_us))
    dependencies.queue.execute()
    return served


def _serve_all(dependencies: ExecuteDependencies, taken: list[Taken], wake_ups: _WakeUps) -> bool:
    """Serve them one after the other; False if something is away, and then the rest is given back."""
    made, kept_at, order = list[Made](), time.monotonic_ns(), None
    for position, item in enumerate(taken):
        started = time.monotonic_ns()
        then = _order_ahead(dependencies, taken[position + 1]) if position + 1 < len(taken) else None
        with log.about(request_id=hex_of(item.request_id)):
            try:
                with tracing.span("execute", item.request_id):
                    made += _serve(dependencies, item, order, then)
            except BaseException as error:
                spent_us = (time.monotonic_ns() - started) // _US
                _keep(dependencies, made, wake_ups)
                _give_back(dependencies, item, taken[position + 1 :], error, spent_us)
                if not isinstance(error, RetryableError):
                    raise
                _LOG.warning("not executed, later again: %s", error)
                metrics.count("retries", task="execute")
                return False
        order = then
        if time.monotonic_ns() - kept_at > _BATCH_US * _US:
            _keep(dependencies, made, wake_ups)
            made, kept_at = [], time.monotonic_ns()
    _keep(dependencies, made, wake_ups)
    return True


class _WakeUps:
    """Of the submitter, one for all receipts that can go together: the first at once, others now and then."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: dict[tuple[Address, Address], RequestId] = {}
        self._due_at_s = 0.0

    def add(self, stored: StoredReceipt) -> None:
        """There is this receipt."""
        self._waiting[stored.signer, stored.receipt.payee] = stored.receipt.request_id
        if time.monotonic() >= self._due_at_s:
            self.send()

    def send(self) -> None:
        """Wake it for all that wait."""
        for request_id in self._waiting.values():
            self._queue.submit(request_id)
        self._waiting.clear()
        self._due_at_s = time.monotonic() + _WAKE_EVERY_S


def _keep(dependencies: ExecuteDependencies, made: Sequence[Made], wake_ups: _WakeUps) -> None:
    """Store these receipts in one commit, and have them submitted."""
    moved = dependencies.store.requests.record_receipts(made, dependencies.now_ms()) if made else ()
    for stored, _ in made:
        receipt = stored.receipt
        if receipt.request_id in moved:
            metrics.count("executions", outcome=receipt.outcome.name.lower())
            about = {"request_id": hex_of(receipt.request_id), "fuel": receipt.fuel_used}
            _LOG.info("executed: %s", receipt.outcome.name.lower(), extra=about)
            wake_ups.add(stored)


def _give_back(
    dependencies: ExecuteDependencies, item: Taken, rest: list[Taken], error: BaseException, spent_us: int
) -> None:
    metrics.count("execution_failures", again="yes")
    turns, worker, now_ms = dependencies.store.turns, dependencies.worker, dependencies.now_ms()
    turns.give_back([item], worker, now_ms, reason=str(error) or type(error).__name__, spent_us=spent_us)
    if rest:
        turns.give_back(rest, worker, now_ms)


class _UnservableError(InvalidInputError):
    """There is nothing to ask the enclave."""


def _order(dependencies: ExecuteDependencies, item: Taken) -> Execute:
    """
    What the enclave is asked.

    Raises:
        RetryableError: the chain is away.
        _UnservableError: its deadline is too near, or nobody knows its program.
    """
    request = item.stored.request
    left_s = request.deadline_s - dependencies.now_ms() // 1_000
    if left_s < dependencies.deadline_margin_s:
        raise _UnservableError(f"its deadline is {left_s} s away, too near to settle it")
    program = dependencies.programs.find(request.program_id)
    if program is None:
        raise _UnservableError(f"program {hex_of(request.program_id)} is not published in this chain's ProgramRegistry")
    return Execute(
        request=request,
        engine=program.engine,
        manifest_hash=program.manifest_hash,
        code_hash=program.code_hash,
        input=item.input,
        payee=dependencies.payee,
    )


def _order_ahead(dependencies: ExecuteDependencies, item: Taken) -> Execute | None:
    """What the enclave can begin with meanwhile; if there is nothing to ask, its own turn tells why."""
    with contextlib.suppress(AdytonError):
        return _order(dependencies, item)
    return None


def _serve(
    dependencies: ExecuteDependencies, item: Taken, order: Execute | None = None, then: Execute | None = None
) -> list[Made]:
    """
    Make a receipt, or store a reason why there is none. `order` was sent ahead, `then` is sent ahead of its turn.

    Raises:
        RetryableError: chain, enclave or store is away; nothing is stored.
    """
    request, started = item.stored.request, time.monotonic_ns()
    asked = time.monotonic()
    try:
        order = order or _order(dependencies, item)
        reply = dependencies.enclave().execute(order, dependencies.programs.content(request.program_id), then)
        receipt = _checked(reply, request, dependencies.payee)
    except (EnclaveError, InvalidInputError) as error:
        _fail(dependencies, item, str(error), started)
        return []
    metrics.observe("execution_seconds", time.monotonic() - asked)
    logs = "\n".join(reply.logs).encode()
    transcript = encode_transcript(reply.transcript) if reply.transcript else b""
    stored = StoredReceipt(receipt, reply.output, reply.signer, reply.signature, logs, transcript)
    return [(stored, _served(item, started))]


def _checked(reply: ReceiptReply, request: Request, payee: Address) -> Receipt:
    """
    The receipt in `reply`.

    Raises:
        EnclaveError: it is for another request or payee, or `reply.signer` did not sign it.
    """
    receipt = Receipt(
        RequestId(reply.request_id),
        reply.outcome,
        keccak256(reply.output),
        reply.fuel_used,
        Address(reply.payee),
        context_of(reply.transcript),
    )
    if (receipt.request_id, receipt.payee) != (request.request_id, payee):
        raise EnclaveError("bad_reply", "the enclave's receipt is for another request or another payee")
    if recover(receipt.digest(request.chain_id, request.coprocessor), reply.signature) != reply.signer:
        raise EnclaveError("bad_reply", "the enclave's receipt is not signed by the key that it names")
    return receipt


def _fail(dependencies: ExecuteDependencies, item: Taken, reason: str, started_ns: int) -> None:
    metrics.count("execution_failures", again="no")
    if dependencies.store.requests.fail(item.request_id, reason, _served(item, started_ns)):
        _LOG.warning("no receipt: %s", reason)


def _served(item: Taken, started_ns: int) -> Served:
    spent_us = (time.monotonic_ns() - started_ns) // _US
    return Served(item.stored.request.consumer, item.charged_us, spent_us)
