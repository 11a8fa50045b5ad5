"""Collect a receipt document from the chain: request, delivery, and what its signer was registered with."""

from __future__ import annotations

from oracle.chain.history import find_created, find_ending
from oracle.chain.settlement import Delivered, read_delivery
from oracle.client.connection import Connection
from oracle.client.document import ReceiptDocument, Settlement
from oracle.client.errors import NoReceiptError, RequestUnknownError
from oracle.client.evidence import EvidenceReader
from oracle.client.results import signer_of
from oracle.types.block import Created, Settled
from oracle.types.ids import RequestId, hex_of
from oracle.types.pool import Pool
from oracle.types.receipt import Receipt


def read_created(connection: Connection, request_id: RequestId) -> Created:
    """
    The request with this id.

    Raises:
        RequestUnknownError: the chain has none.
        RetryableError: the chain could not be read.
    """
    reader = connection.reader
    head, first = reader.head().number, connection.settings.start_block
    created = find_created(reader.rpc, reader.chain_id, reader.coprocessor, request_id, first, head)
    if created is None:
        raise RequestUnknownError(f"there is no request {hex_of(request_id)} on chain {reader.chain_id}")
    return created


def read_document(connection: Connection, created: Created, *, with_evidence: bool) -> ReceiptDocument:
    """
    The receipt of a settled request with everything around it. Nothing of it is verified.

    Raises:
        NoReceiptError: it has none that can be read.
        EvidenceUnavailableError, CollateralError: as `EvidenceReader.evidence`.
        RetryableError: the chain, or the source of collateral, cannot be read now.
    """
    reader, request_id = connection.reader, created.request_id
    rpc, chain_id, coprocessor = reader.rpc, reader.chain_id, reader.coprocessor
    head = reader.head().number
    end = find_ending(rpc, chain_id, coprocessor, request_id, created.block_number, head)
    if not isinstance(end, Settled):
        state = "is open" if end is None else "expired"
        raise NoReceiptError(f"request {hex_of(request_id)} {state} on chain {chain_id}, so it has no receipt")
    delivered = read_delivery(rpc, coprocessor, end.transaction_hash)
    at = None if delivered is None else delivered.position(request_id)
    signer = None if delivered is None else signer_of(delivered, chain_id, coprocessor)
    if delivered is None or at is None or signer is None:
        raise NoReceiptError(
            f"{hex_of(end.transaction_hash)} settled it through another contract, or with another proof than a "
            "signature: that is not ours to read"
        )
    evidence = None
    if with_evidence:
        registry = Pool.from_id(created.request.pool_id).verifier
        source = EvidenceReader(reader, connection.source, connection.settings.start_block)
        evidence = source.evidence(registry, signer, end.block_number, connection.now_s())
    return ReceiptDocument(
        request=created.request,
        input=created.input,
        receipt=delivered.receipts[at],
        output=delivered.outputs[at],
        signature=delivered.proof,
        signer=signer,
        batch=_batch(delivered),
        evidence=evidence,
        settlement=Settlement(end.block_number, end.transaction_hash, end.fee_wei, end.callback_succeeded),
    )


def _batch(delivered: Delivered) -> tuple[Receipt, ...] | None:
    return delivered.receipts if delivered.is_batch else None
