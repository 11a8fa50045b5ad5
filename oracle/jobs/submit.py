"""
Bring receipts, expiries and registrations to the chain: EXECUTED -> SUBMITTED.

Alone when idle, in batches under load: whatever else the same enclave signed and nobody submitted yet goes into the
same transaction, under one signature of that enclave, if it can be reached from here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oracle.chain.contracts import encode_expire, encode_fulfill, encode_fulfill_batch, encode_register
from oracle.chain.errors import RevertedError
from oracle.chain.gas import MAX_TRANSACTION_GAS, expiry_gas, settlement_gas
from oracle.chain.submitter import Submitter
from oracle.enclave.protocol import SignedReceipt
from oracle.errors import EnclaveError, RetryableError
from oracle.jobs.ports import Enclave
from oracle.store.errors import ConflictError
from oracle.store.rows import EnclaveState, RequestState, StoredReceipt, StoredRequest
from oracle.store.store import Store
from oracle.types.ids import Address, RequestId, hex_of
from oracle.types.transaction import TransactionKind

_LOG = logging.getLogger(__name__)
_TARGET_GAS = MAX_TRANSACTION_GAS - 2_000_000  # of a batch

Item = tuple[StoredRequest, StoredReceipt]


@dataclass(frozen=True, slots=True)
class SubmitDependencies:
    """What the submitting jobs work with."""

    store: Store
    submitter: Submitter
    enclave_registry: Address
    signing_enclave: Callable[[Address], Enclave | None]  # the enclave with this key, if it can be reached
    max_batch: int = 32


def submit(dependencies: SubmitDependencies, request_id: RequestId) -> None:
    """
    Send the receipt of `request_id`, if it is EXECUTED, and under load others along with it.

    A receipt that the chain refuses now stays EXECUTED with the reason: the sweeper repeats it, ever more rarely, until
    the deadline.

    Raises:
        RetryableError: the node is away, gas is too dear, or the relay has no money.
    """
    first = _item(dependencies.store, request_id)
    if first is None:
        return
    batch = _backlog(dependencies, first)
    proof = _batch_proof(dependencies, batch) if len(batch) > 1 else None
    try:
        if proof is None:
            _send_one(dependencies, first)
        else:
            _send_batch(dependencies, batch, proof)
    except ConflictError:
        return  # somebody else submits it
    except RevertedError as error:
        _LOG.warning("not accepted now: %s", error, extra={"request_id": hex_of(request_id)})
        dependencies.store.requests.note(request_id, str(error))


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
    data = encode_register(signer, enclave.sealing_key, enclave.operator, enclave.anchor_block, enclave.quote)
    registry = dependencies.enclave_registry
    try:
        gas = dependencies.submitter.node.estimate(dependencies.submitter.account, registry, data)
        dependencies.submitter.send(TransactionKind.REGISTER, [signer], registry, data, gas + gas // 4)
    except ConflictError:
        return
    except RevertedError as error:
        _LOG.warning("the registry refuses enclave %s: %s", hex_of(signer), error)
        dependencies.store.enclaves.record_dead(signer)


def _item(store: Store, request_id: RequestId) -> Item | None:
    stored = store.requests.get(request_id)
    if stored is None or stored.state is not RequestState.EXECUTED or stored.block_number is None:
        return None
    receipt = store.requests.receipt(request_id)
    return None if receipt is None else (stored, receipt)


def _backlog(dependencies: SubmitDependencies, first: Item) -> list[Item]:
    """`first`, and what else can go with it: same enclave, pool and payee, within the gas of one transaction."""
    request, receipt = first
    others = dependencies.store.requests.executed_by(
        receipt.signer, dependencies.max_batch, request.request.pool_id, receipt.receipt.payee
    )
    batch, gas = [first], _gas_of(first)
    for request_id in others:
        item = None if request_id == request.request_id else _item(dependencies.store, request_id)
        if item is not None and len(batch) < dependencies.max_batch and gas + _gas_of(item) <= _TARGET_GAS:
            batch.append(item)
            gas += _gas_of(item)
    return batch


def _gas_of(item: Item) -> int:
    request, receipt = item
    return settlement_gas(receipt.output + bytes(range(1, 200)), [request.request.callback_gas])


def _batch_proof(dependencies: SubmitDependencies, batch: Sequence[Item]) -> bytes | None:
    """The enclave's signature over all receipts, or None if it cannot be had: then they go one by one."""
    request, receipt = batch[0]
    enclave = dependencies.signing_enclave(receipt.signer)
    if enclave is None:
        return None
    receipts = tuple(SignedReceipt.of(item.receipt, item.signature) for _, item in batch)
    try:
        signed = enclave.sign_batch(request.request.chain_id, request.request.coprocessor, receipts)
    except (EnclaveError, RetryableError) as error:
        _LOG.warning("no batch signature, submitting one by one: %s", error)
        return None
    return signed.signature if signed.signer == receipt.signer else None


def _send_one(dependencies: SubmitDependencies, item: Item) -> None:
    stored, receipt = item
    request = stored.request
    data = encode_fulfill(request.pool_id, (receipt.receipt, receipt.output), receipt.signature)
    gas = settlement_gas(data, [request.callback_gas])
    dependencies.submitter.send(TransactionKind.FULFILL, [stored.request_id], request.coprocessor, data, gas)
    _LOG.info("submitted", extra={"request_id": hex_of(stored.request_id)})


def _send_batch(dependencies: SubmitDependencies, batch: Sequence[Item], proof: bytes) -> None:
    request = batch[0][0].request
    deliveries = [(receipt.receipt, receipt.output) for _, receipt in batch]
    data = encode_fulfill_batch(request.pool_id, deliveries, proof)
    gas = settlement_gas(data, [stored.request.callback_gas for stored, _ in batch])
    subjects = [stored.request_id for stored, _ in batch]
    dependencies.submitter.send(TransactionKind.FULFILL, subjects, request.coprocessor, data, gas)
    _LOG.info("submitted a batch of %d", len(batch), extra={"request_id": hex_of(subjects[0])})
