"""
How many requests per second Anvil settles when nobody does anything but push settlements into it.

Requests, receipts, batch signatures and transactions are all made beforehand; what is timed is handing the signed
`fulfillBatch` transactions to the node, and mining them, by the chain's own clock.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.attestation_gas import register, supply
from bench.load import Load, created_among
from oracle import anvil
from oracle.attestation.quoters.simulated import SimulatedQuoter
from oracle.chain.contracts import encode_fulfill_batch
from oracle.chain.gas import BATCH_RESERVE_GAS, MAX_TRANSACTION_GAS, delivery_gas, settlement_gas
from oracle.chain.reader import ChainReader
from oracle.chain.signing import sign
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import keccak256
from oracle.devnet import RELAY, wallet
from oracle.enclave.measurement import measure
from oracle.types.block import Created
from oracle.types.ids import Address, parse_hex
from oracle.types.pool import GWEI
from oracle.types.receipt import Outcome, Receipt, batch_digest
from oracle.types.transaction import Fees, TransactionKind

_FUEL_USED: Final = 500_000
_FEES: Final = Fees(1_000 * GWEI, GWEI)
_IDLE_BLOCKS: Final = 3  # without a settlement: that was all


def ceiling(count: int, batch: int | None = None, block_gas: int | None = None) -> float:
    """Settled requests per second, by batches of `batch` or as many as fit into a transaction."""
    with tempfile.TemporaryDirectory() as name, Load.running(Path(name), block_gas) as load:
        signer, first = _registered(load), load.head() + 1
        load.push(load.requests(count))
        load.mine_all()
        requests = list(created_among(load.events(first, load.head())).values())
        raws = _settlements(load, requests, signer, batch or _largest(requests[0]))
        load.mine_every(1)
        begin = load.await_blocks(1)
        load.push(raws)
        last = load.await_settled(begin, len(requests), _IDLE_BLOCKS)
        return load.rate(begin, last)


def _registered(load: Load) -> SigningKey:
    """A live signer whose key we have."""
    registry = Address(parse_hex(load.settings.enclave_registry or "", 20, "registry"))
    quoter, signer = SimulatedQuoter(measure()), SigningKey()
    reader = ChainReader(load.rpc, anvil.CHAIN_ID, load.coprocessor)
    verifier = Address(parse_hex(reader.view("EnclaveRegistry", registry, "VERIFIER"), 20, "verifier"))
    supply(load.owner, verifier, quoter)
    register(wallet(load.rpc, RELAY), registry, quoter, signer)
    return signer


def _largest(event: Created) -> int:
    """How many such requests fit into one transaction, as the pool counts."""
    return (MAX_TRANSACTION_GAS - BATCH_RESERVE_GAS) // delivery_gas(bytes([1] * 32), event.request.callback_gas)


def _settlements(load: Load, requests: Sequence[Created], signer: SigningKey, batch: int) -> list[bytes]:
    nonce, raws = load.nonce(Address(RELAY.address)), []
    for place, at in enumerate(range(0, len(requests), batch)):
        some = requests[at : at + batch]
        deliveries = [_receipt(event, Address(RELAY.address)) for event in some]
        digest = batch_digest([receipt for receipt, _ in deliveries], anvil.CHAIN_ID, load.coprocessor)
        calldata = encode_fulfill_batch(load.pool_id, deliveries, signer.sign(digest))
        gas = settlement_gas(calldata, [event.request.callback_gas for event in some])
        kind, to = TransactionKind.FULFILL, load.coprocessor
        raws.append(sign(RELAY, anvil.CHAIN_ID, nonce + place, kind, (), to, calldata, gas, _FEES).raw)
    return raws


def _receipt(event: Created, payee: Address) -> tuple[Receipt, bytes]:
    output = keccak256(event.request.request_id)
    return Receipt(event.request.request_id, Outcome.COMPLETED, keccak256(output), _FUEL_USED, payee), output
