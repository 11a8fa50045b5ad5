"""
Make settling transactions of receipts: which of them fit into one, what it carries, and which of them the chain would
refuse. Nothing is sent here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oracle.chain.contracts import encode_fulfill, encode_fulfill_batch
from oracle.chain.errors import RevertedError
from oracle.chain.gas import BATCH_RESERVE_GAS, MAX_TRANSACTION_GAS, delivery_bytes, delivery_gas, settlement_gas
from oracle.chain.submitter import Submitter
from oracle.enclave.protocol import SignedReceipt
from oracle.errors import EnclaveError, RetryableError
from oracle.jobs.ports import Enclave
from oracle.store.outbox import Item
from oracle.types.ids import Address

_LOG = logging.getLogger(__name__)
MAX_DATA_BYTES = 120_000  # nodes take transactions of 128 KiB into their pools


@dataclass(frozen=True, slots=True)
class Settlement:
    """A call of `fulfill` or `fulfillBatch`."""

    subjects: tuple[bytes, ...]
    to: Address
    data: bytes
    gas_limit: int


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Makes settlements of receipts that one enclave signed for one pool and payee."""

    submitter: Submitter
    signing_enclave: Callable[[Address], Enclave | None]  # the enclave with this key, if it can be reached
    max_gas: int = MAX_TRANSACTION_GAS

    def fitting(self, batch: Sequence[Item]) -> list[Item]:
        """As many of the first items as fit into one transaction, by gas and by size; one at least."""
        gas, size, fitting = BATCH_RESERVE_GAS, 0, list[Item]()
        for item in batch:
            stored, receipt = item
            gas += delivery_gas(receipt.output, stored.request.callback_gas)
            size += delivery_bytes(receipt.output)
            if fitting and (gas > self.max_gas or size > MAX_DATA_BYTES):
                break
            fitting.append(item)
        return fitting

    def settlement(self, batch: Sequence[Item]) -> Settlement | None:
        """
        The call that settles these. None if they are several and their enclave is out of reach.

        Raises:
            EnclaveError: the enclave refuses to sign the batch.
        """
        if len(batch) == 1:
            return self._single(batch[0])
        proof = self._batch_proof(batch)
        if proof is None:
            return None
        request = batch[0][0].request
        data = encode_fulfill_batch(request.pool_id, [(r.receipt, r.output) for _, r in batch], proof)
        gas = settlement_gas(data, [stored.request.callback_gas for stored, _ in batch])
        return Settlement(tuple(stored.request_id for stored, _ in batch), request.coprocessor, data, gas)

    def refused(self, batch: Sequence[Item]) -> list[tuple[Item, Exception]]:
        """
        Those that the chain, or their enclave, would not take now, with the reason: found by halving.

        A request that is closed does not make a batch fail, so only one alone is told to be.
        """
        try:
            settlement = self.settlement(batch)
            if settlement is not None:
                account = self.submitter.account
                self.submitter.node.simulate(account, settlement.to, settlement.data, settlement.gas_limit)
        except (RevertedError, EnclaveError) as error:
            if isinstance(error, RetryableError):
                raise
            if len(batch) == 1:
                return [(batch[0], error)]
            half = len(batch) // 2
            return [*self.refused(batch[:half]), *self.refused(batch[half:])]
        return []

    def _single(self, item: Item) -> Settlement:
        stored, receipt = item
        request = stored.request
        data = encode_fulfill(request.pool_id, (receipt.receipt, receipt.output), receipt.signature)
        gas = settlement_gas(data, [request.callback_gas])
        return Settlement((stored.request_id,), request.coprocessor, data, gas)

    def _batch_proof(self, batch: Sequence[Item]) -> bytes | None:
        """The enclave's signature over all receipts, or None if it cannot be had now."""
        stored, receipt = batch[0]
        enclave = self.signing_enclave(receipt.signer)
        if enclave is None:
            return None
        receipts = tuple(SignedReceipt.of(item.receipt, item.signature) for _, item in batch)
        try:
            signed = enclave.sign_batch(stored.request.chain_id, stored.request.coprocessor, receipts)
        except RetryableError as error:
            _LOG.warning("no batch signature: %s", error)
            return None
        return signed.signature if signed.signer == receipt.signer else None
