"""
Have an enclave serve a request: PENDING -> EXECUTED with a receipt, or -> FAILED with a reason.

The enclave is trusted for what it signs, not for what it says: the receipt's signature is checked here, against the
request that was asked for, before it is stored. Whether the signer is registered is for the chain to say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from oracle.crypto.ecdsa import recover
from oracle.crypto.hashing import keccak256
from oracle.enclave.protocol import Execute, ReceiptReply
from oracle.errors import EnclaveError, InvalidInputError
from oracle.jobs.ports import Enclave, Programs, Queue
from oracle.store.requests import Requests
from oracle.store.rows import RequestState, StoredReceipt
from oracle.types.ids import Address, RequestId, hex_of
from oracle.types.receipt import Receipt
from oracle.types.request import Request

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExecuteDependencies:
    """What `execute` works with."""

    requests: Requests
    programs: Programs
    enclave: Callable[[], Enclave]  # one per thread
    queue: Queue
    payee: Address
    now_ms: Callable[[], int]
    deadline_margin_s: int = 0  # less time than this is not enough to settle: the work would be given away


def execute(dependencies: ExecuteDependencies, request_id: RequestId) -> None:
    """
    Make and store a receipt for `request_id`, unless there is one or the request has ended. Wakes `submit`.

    Raises:
        RetryableError: chain, enclave or store is away; the request stays PENDING and the sweeper repeats it.
    """
    requests, about = dependencies.requests, {"request_id": hex_of(request_id)}
    stored = requests.get(request_id)
    if stored is None or stored.block_number is None:
        return
    if stored.state is RequestState.EXECUTED:  # done before, but perhaps nobody was told
        dependencies.queue.submit(request_id)
    if stored.state is not RequestState.PENDING:
        return

    left_s = stored.request.deadline_s - dependencies.now_ms() // 1_000
    if left_s < dependencies.deadline_margin_s:
        _fail(requests, request_id, f"its deadline is {left_s} s away, too near to settle it")
        return
    program = dependencies.programs.find(stored.request.program_id)
    if program is None:
        reason = f"program {hex_of(stored.request.program_id)} is not published in this chain's ProgramRegistry"
        _fail(requests, request_id, reason)
        return
    message = Execute(
        request=stored.request,
        engine=program.engine,
        manifest_hash=program.manifest_hash,
        code_hash=program.code_hash,
        input=requests.input(request_id) or b"",
        payee=dependencies.payee,
    )
    try:
        reply = dependencies.enclave().execute(message, dependencies.programs.content(stored.request.program_id))
        receipt = _checked(reply, stored.request, dependencies.payee)
    except (EnclaveError, InvalidInputError) as error:
        _fail(requests, request_id, str(error))
        return
    logs = "\n".join(reply.logs).encode()
    if requests.record_receipt(
        StoredReceipt(receipt, reply.output, reply.signer, reply.signature, logs), dependencies.now_ms()
    ):
        _LOG.info("executed: %s", receipt.outcome.name.lower(), extra=about | {"fuel": receipt.fuel_used})
        dependencies.queue.submit(request_id)


def _checked(reply: ReceiptReply, request: Request, payee: Address) -> Receipt:
    """
    The receipt in `reply`.

    Raises:
        EnclaveError: it is for another request or payee, or `reply.signer` did not sign it.
    """
    receipt = Receipt(
        RequestId(reply.request_id), reply.outcome, keccak256(reply.output), reply.fuel_used, Address(reply.payee)
    )
    if (receipt.request_id, receipt.payee) != (request.request_id, payee):
        raise EnclaveError("bad_reply", "the enclave's receipt is for another request or another payee")
    if recover(receipt.digest(request.chain_id, request.coprocessor), reply.signature) != reply.signer:
        raise EnclaveError("bad_reply", "the enclave's receipt is not signed by the key that it names")
    return receipt


def _fail(requests: Requests, request_id: RequestId, reason: str) -> None:
    if requests.fail(request_id, reason):
        _LOG.warning("no receipt: %s", reason, extra={"request_id": hex_of(request_id)})
