"""Put programs on chain: code in pieces that fit a contract each, then manifest and hashes."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.chain.reader import ChainReader
from oracle.chain.wallet import Wallet
from oracle.errors import LimitExceededError
from oracle.types.ids import Address
from oracle.types.program import Program

MAX_CHUNK_BYTES = 24_575  # ProgramRegistry.MAX_CHUNK_BYTES: a contract's code less its first byte
MAX_CODE_BYTES = 1 << 20  # on chain; more is possible but costs more than a block


@dataclass(frozen=True, slots=True)
class Publication:
    """A published program: where its code is on chain, and the hash of the transaction that published it."""

    program: Program
    chunks: tuple[str, ...]
    transaction_hash: str


def publish(wallet: Wallet, registry: Address, manifest: bytes, code: bytes, *, with_code: bool = True) -> Publication:
    """
    Publish a program and, unless `with_code` is False, its code. Publishing again what is there changes nothing.

    Raises:
        EncodingError, LimitExceededError: the manifest does not parse, or there is too much code for the chain.
        RevertedError, RetryableError: as `Wallet.send`.
    """
    program = Program.of(manifest, code)
    chunks = _store(wallet, registry, code) if with_code else ()
    arguments = (int(program.engine), manifest, program.code_hash, chunks)
    tx_receipt = wallet.call("ProgramRegistry", registry, "publish", *arguments)
    return Publication(program, chunks, tx_receipt["transactionHash"])


def _store(wallet: Wallet, registry: Address, code: bytes) -> tuple[str, ...]:
    if len(code) > MAX_CODE_BYTES:
        raise LimitExceededError("code on chain in bytes (publish it --off-chain)", MAX_CODE_BYTES, len(code))
    reader = ChainReader(wallet.rpc, wallet.chain_id, registry)
    pointers = []
    for at in range(0, len(code), MAX_CHUNK_BYTES):
        chunk = code[at : at + MAX_CHUNK_BYTES]
        pointers.append(reader.view("ProgramRegistry", registry, "store", chunk))  # the address follows from the bytes
        wallet.call("ProgramRegistry", registry, "store", chunk)
    return tuple(pointers)
