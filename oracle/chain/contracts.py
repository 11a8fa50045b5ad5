"""
ABI encoding and decoding of exactly the calls, events and errors that we use, from the compiled artifacts.

Events are sliced by hand: a back-fill reads tens of thousands of them per second. What the chain logs is trusted to be
what the contract emitted, not to be well formed: anything odd raises `EncodingError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError

from oracle.chain.errors import RevertedError
from oracle.chain.rpc import data, quantity
from oracle.crypto.hashing import keccak256
from oracle.errors import ConfigurationError, EncodingError
from oracle.types.block import Created, Event, Expired, Settled
from oracle.types.ids import Address, PoolId, ProgramId, RequestId
from oracle.types.receipt import Outcome, Receipt
from oracle.types.request import Request

# Those whose errors a call may end with.
_CONTRACTS = (
    "Coprocessor",
    "EnclaveRegistry",
    "ProgramRegistry",
    "DcapVerifier",
    "CollateralParser",
    "DcapVerifier",
)
_STANDARD_ERRORS = {
    keccak256(b"Error(string)")[:4]: ("Error", ("string",)),
    keccak256(b"Panic(uint256)")[:4]: ("Panic", ("uint256",)),
}


@dataclass(frozen=True, slots=True)
class Abi:
    """One contract's interface."""

    name: str
    bytecode: bytes
    functions: Mapping[str, tuple[bytes, tuple[str, ...], tuple[str, ...]]]  # selector, inputs, outputs
    errors: Mapping[bytes, tuple[str, tuple[str, ...]]]
    topics: Mapping[str, bytes]
    constructor: tuple[str, ...]

    def encode(self, function: str, *arguments: Any) -> bytes:
        """The calldata of a call."""
        selector, inputs, _ = self.functions[function]
        return selector + abi_encode(inputs, arguments)

    def decode(self, function: str, returned: bytes) -> Any:
        """What a call returned: one value, or a tuple of several."""
        try:
            values = abi_decode(self.functions[function][2], returned)
        except DecodingError as error:
            raise EncodingError(f"{self.name}.{function} returned something else than its ABI says") from error
        return values[0] if len(values) == 1 else values

    def creation(self, *arguments: Any) -> bytes:
        """The data of the transaction that deploys the contract."""
        return self.bytecode + abi_encode(self.constructor, arguments)


@cache
def abi(name: str) -> Abi:
    """
    The interface of the contract `name`.

    Raises:
        ConfigurationError: no artifact: this is a source tree where the contracts were never compiled.
    """
    try:
        text = resources.files("oracle.chain").joinpath("artifacts", f"{name}.json").read_text()
    except FileNotFoundError as error:
        raise ConfigurationError(f"no compiled contract {name}: run `scripts/build_contracts.py`") from error
    return parse_artifact(name, text)


def parse_artifact(name: str, text: str) -> Abi:
    """The interface in the artifact `text`, as scripts/build_contracts.py writes it."""
    artifact = json.loads(text)
    entries = artifact["abi"]
    functions, errors, topics = {}, {}, {}
    constructor: tuple[str, ...] = ()
    for entry in entries:
        inputs = tuple(_type(item) for item in entry.get("inputs", ()))
        signature = f"{entry.get('name')}({','.join(inputs)})".encode()
        if entry["type"] == "function":
            functions[entry["name"]] = (
                keccak256(signature)[:4],
                inputs,
                tuple(_type(item) for item in entry["outputs"]),
            )
        elif entry["type"] == "error":
            errors[keccak256(signature)[:4]] = (entry["name"], inputs)
        elif entry["type"] == "event":
            topics[entry["name"]] = keccak256(signature)
        elif entry["type"] == "constructor":
            constructor = inputs
    return Abi(name, data(artifact["bytecode"]), functions, errors, topics, constructor)


def _type(item: Mapping[str, Any]) -> str:
    """The canonical type: structs are spelled out."""
    if not item["type"].startswith("tuple"):
        return str(item["type"])
    suffix = str(item["type"]).removeprefix("tuple")
    return "(" + ",".join(_type(part) for part in item["components"]) + ")" + suffix


def revert_error(returned: bytes) -> RevertedError:
    """Why a call reverted, from its return data, by the custom errors of all our contracts."""
    for name in _CONTRACTS:
        known = abi(name).errors.get(returned[:4]) or _STANDARD_ERRORS.get(returned[:4])
        if known is not None:
            try:
                return RevertedError(known[0], abi_decode(known[1], returned[4:]))
            except DecodingError:
                return RevertedError(known[0])
    return RevertedError(f"0x{returned[:4].hex()}" if returned else "no reason given")


# -- calls -------------------------------------------------------------------------------------------------------------

Delivery = tuple[Receipt, bytes]  # a receipt and the output it hashes


def _delivery(delivery: Delivery) -> tuple[bytes, int, int, bytes, bytes]:
    receipt, output = delivery
    return receipt.request_id, receipt.fuel_used, int(receipt.outcome), output, receipt.context


def encode_fulfill(pool_id: PoolId, delivery: Delivery, proof: bytes) -> bytes:
    """Calldata of `Coprocessor.fulfill`."""
    request_id, fuel_used, outcome, output, context = _delivery(delivery)
    arguments = (request_id, outcome, context, pool_id, fuel_used, delivery[0].payee, output, proof)
    return abi("Coprocessor").encode("fulfill", *arguments)


def encode_fulfill_batch(pool_id: PoolId, deliveries: Sequence[Delivery], proof: bytes) -> bytes:
    """Calldata of `Coprocessor.fulfillBatch`. All deliveries name the same payee."""
    items = [_delivery(delivery) for delivery in deliveries]
    return abi("Coprocessor").encode("fulfillBatch", pool_id, items, deliveries[0][0].payee, proof)


def encode_expire(request_id: RequestId, pool_id: PoolId) -> bytes:
    """Calldata of `Coprocessor.expire`."""
    return abi("Coprocessor").encode("expire", request_id, pool_id)


def encode_register(signer: Address, sealing_key: bytes, operator: Address, anchor_block: int, quote: bytes) -> bytes:
    """Calldata of `EnclaveRegistry.register`."""
    return abi("EnclaveRegistry").encode("register", signer, sealing_key, operator, anchor_block, quote)


# -- events ------------------------------------------------------------------------------------------------------------

CREATED = keccak256(b"RequestCreated(bytes32,bytes32,address,bytes32,uint256,bytes)")
SETTLED = keccak256(b"RequestSettled(bytes32,address,uint256)")
EXPIRED = keccak256(b"RequestExpired(bytes32,bool)")


def decode_event(log: Mapping[str, Any], chain_id: int) -> Event:
    """
    One of the three events of the Coprocessor that emitted `log`, an entry of `eth_getLogs`.

    Raises:
        EncodingError: another event, or not laid out as the ABI says.
    """
    try:
        topics = [data(topic) for topic in log["topics"]]
        body, block, transaction = data(log["data"]), quantity(log["blockNumber"]), data(log["transactionHash"])
        if topics[0] == CREATED:
            return _created(topics, body, chain_id, Address(data(log["address"])), block, transaction)
        if topics[0] == SETTLED:
            fee, fuel = int.from_bytes(body[:16]), int.from_bytes(body[16:24])  # Settlement, one packed word
            outcome, called, payee = Outcome(body[30]), bool(body[31]), Address(topics[2][12:])
            return Settled(RequestId(topics[1]), payee, outcome, called, fuel, fee, block, transaction)
        if topics[0] == EXPIRED:
            return Expired(RequestId(topics[1]), bool(int.from_bytes(body[:32])), block, transaction)
    except (KeyError, IndexError, ValueError) as error:
        raise EncodingError(f"this log is not laid out as its event: {log!r:.200}") from error
    raise EncodingError(f"this log is none of ours: topic 0x{topics[0].hex()}")


def _created(
    topics: Sequence[bytes], body: bytes, chain_id: int, coprocessor: Address, block: int, transaction: bytes
) -> Created:
    program_id, terms = ProgramId(body[:32]), int.from_bytes(body[32:64])
    size = int.from_bytes(body[96:128])
    given = body[128 : 128 + size]
    consumer, pool_id = Address(topics[3][12:]), PoolId(topics[2])
    request = Request.from_terms(chain_id, coprocessor, consumer, program_id, pool_id, keccak256(given), terms)
    if len(given) != size or request.request_id != topics[1]:
        raise EncodingError(f"the log of request 0x{topics[1].hex()} does not hash to its id")
    return Created(request, given, block, transaction)
