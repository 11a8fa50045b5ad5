"""
The receipt document: one JSON object with everything that it takes to believe a receipt, and no network.

    {"version": 1, "chain_id": …, "coprocessor": "0x…", "signer": "0x…", "signature": "0x…", "output": "0x…",
     "request_id": …, "outcome": "COMPLETED", …      the receipt, flat: the fields of `oracle.types.receipt.Receipt`
     "request": {"consumer": …, "program_id": …, "pool_id": …, "input": "0x…", "nonce": …, …}    what the id commits to
     "batch": [receipt, …]                                 only if several were signed together
     "transcript": [{"url": …, "status": …, …}, …]         what was fetched, where it is known; the receipt has its hash
     "attestation": {"sealing_key": …, "operator": …, "anchor_block": …, "anchor_hash": …, "quote": …, "collateral": …},
     "settlement": {"block": …, "transaction": …, "fee_wei": …, "callback_succeeded": …}}    nobody signed these

Bytes are `0x…` text. Numbers over 2^53-1 are written as decimal text, because JSON readers disagree on them; both forms
are read. `transcript`, `attestation` and `settlement` may be missing. Reading decides nothing but form and size:
`verify_receipt` is what judges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, get_type_hints

from oracle.attestation import strict_json
from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.reader import require_size
from oracle.attestation.strict_json import Members
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError
from oracle.types.ids import Address, hex_of, parse_hex
from oracle.types.receipt import Outcome, Receipt
from oracle.types.request import Request
from oracle.types.transcript import MAX_FETCHES, Fetched

DOCUMENT_VERSION: Final = 1
MAX_DOCUMENT_BYTES: Final = 16 << 20
MAX_BATCH: Final = 4_096
_MAX_JSON_INTEGER: Final = 2**53 - 1
_MAX_WORD: Final = 2**256 - 1


@dataclass(frozen=True, slots=True)
class SignerEvidence:
    """What a signer was registered with, and what its vendor says about the machine."""

    sealing_key: bytes  # 32 bytes
    operator: Address
    anchor_block: int
    anchor_hash: bytes  # 32 bytes: the block that the quote is younger than
    quote: bytes  # whole, or trimmed as on chain
    collateral: DcapCollateral | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of the receipt on chain. Not signed: for looking it up, not for believing it."""

    block_number: int
    transaction_hash: bytes
    fee_wei: int
    callback_succeeded: bool


@dataclass(frozen=True, slots=True)
class ReceiptDocument:
    """A receipt with everything around it. Frozen, and nothing in it is verified."""

    request: Request  # with chain id and coprocessor; its input hash is that of `input`
    input: bytes
    receipt: Receipt
    output: bytes
    signature: bytes  # 64 bytes, EIP-2098
    signer: Address
    batch: tuple[Receipt, ...] | None = None  # all that were signed together, in order
    evidence: SignerEvidence | None = None
    settlement: Settlement | None = None
    transcript: tuple[Fetched, ...] | None = None

    @classmethod
    def parse(cls, content: bytes | str | Mapping[str, Any]) -> ReceiptDocument:
        """
        The document that is this JSON, of any origin.

        Raises:
            EncodingError: not such a document.
            LimitExceededError: over 16 MiB, or a part over its own limit.
        """
        try:
            return _parse(_members(content))
        except EncodingError as error:
            raise EncodingError(f"this is not a receipt document: {error}") from error

    def members(self) -> dict[str, Any]:
        """As a JSON object."""
        request, settlement = self.request, self.settlement
        return {
            "version": DOCUMENT_VERSION,
            "chain_id": _written(request.chain_id),
            "coprocessor": hex_of(request.coprocessor),
            **_receipt_members(self.receipt),
            "output": hex_of(self.output),
            "signature": hex_of(self.signature),
            "signer": hex_of(self.signer),
            "request": {
                **{name: _written(getattr(request, name)) for name in _REQUEST_FIELDS},
                "input": hex_of(self.input),
            },
            **({} if self.batch is None else {"batch": [_receipt_members(item) for item in self.batch]}),
            **({} if self.transcript is None else {"transcript": [item.document() for item in self.transcript]}),
            **({} if self.evidence is None else {"attestation": _evidence_members(self.evidence)}),
            **({} if settlement is None else {"settlement": _settlement_members(settlement)}),
        }

    def json(self) -> str:
        """As JSON text."""
        return json.dumps(self.members())


_SIZES: Final = {Address: 20}  # of bytes; everything else that is bytes has 32
_RECEIPT_TYPES: Final = get_type_hints(Receipt)
_REQUEST_FIELDS: Final = tuple(
    field.name for field in fields(Request) if field.name not in ("chain_id", "coprocessor", "input_hash")
)
_REQUEST_TYPES: Final = get_type_hints(Request)


def _members(content: bytes | str | Mapping[str, Any]) -> Members:
    if isinstance(content, Mapping):
        try:
            content = json.dumps(dict(content))
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodingError(f"it cannot be written as JSON: {error}") from error
    octets = content if isinstance(content, bytes) else content.encode(errors="replace")
    require_size(octets, MAX_DOCUMENT_BYTES, "a receipt document")
    try:
        return strict_json.parse(octets.decode(), "the document")
    except UnicodeDecodeError as error:
        raise EncodingError("it is not UTF-8 text") from error


def _parse(members: Members) -> ReceiptDocument:
    if members.integer("version", _MAX_JSON_INTEGER) != DOCUMENT_VERSION:
        raise EncodingError(f"its version is not {DOCUMENT_VERSION}")
    asked = members.child("request")
    given = _octets(asked, "input")
    request = Request(
        chain_id=members.number("chain_id", _MAX_WORD),
        coprocessor=Address(_octets(members, "coprocessor", 20)),
        input_hash=keccak256(given),
        **{name: _read(asked, name, _REQUEST_TYPES[name]) for name in _REQUEST_FIELDS},
    )
    batch = tuple(map(_receipt, members.children("batch", MAX_BATCH))) if "batch" in members else None
    return ReceiptDocument(
        request,
        given,
        _receipt(members),
        _octets(members, "output"),
        _octets(members, "signature", 64),
        Address(_octets(members, "signer", 20)),
        batch,
        _evidence(members.child("attestation")) if "attestation" in members else None,
        _settlement(members.child("settlement")) if "settlement" in members else None,
        _transcript(members) if "transcript" in members else None,
    )


def _transcript(members: Members) -> tuple[Fetched, ...]:
    return tuple(map(Fetched.parse, members.values("transcript", MAX_FETCHES)))


def _receipt(members: Members) -> Receipt:
    return Receipt(**{name: _read(members, name, kind) for name, kind in _RECEIPT_TYPES.items()})


def _evidence(members: Members) -> SignerEvidence:
    has_collateral = "collateral" in members
    return SignerEvidence(
        _octets(members, "sealing_key", 32),
        Address(_octets(members, "operator", 20)),
        members.number("anchor_block", _MAX_WORD),
        _octets(members, "anchor_hash", 32),
        _octets(members, "quote"),
        DcapCollateral.read(members.child("collateral")) if has_collateral else None,
    )


def _settlement(members: Members) -> Settlement:
    return Settlement(
        members.number("block", _MAX_WORD),
        _octets(members, "transaction", 32),
        members.number("fee_wei", _MAX_WORD),
        members.boolean("callback_succeeded"),
    )


def _read(members: Members, name: str, kind: Any) -> Any:
    """The member `name`, of the type that the field of this name has."""
    if kind is int:
        return members.number(name, _MAX_WORD)
    if kind is Outcome:
        return _outcome(members.text(name))
    return _octets(members, name, _SIZES.get(kind, 32))


def _outcome(name: str) -> Outcome:
    try:
        return Outcome[name]
    except KeyError as error:
        raise EncodingError(f"{name[:40]!r} is not an outcome") from error


def _octets(members: Members, name: str, size: int | None = None) -> bytes:
    text = members.text(name)
    if not text.startswith("0x"):
        raise EncodingError(f"{name} must be 0x and hexadecimal digits, not {text[:80]!r}")
    return parse_hex(text, len(text) // 2 - 1 if size is None else size, name)


def _written(value: int | bytes) -> Any:
    """As JSON: bytes and large numbers as text."""
    if isinstance(value, bytes):
        return hex_of(value)
    if isinstance(value, Outcome):
        return value.name
    return value if value <= _MAX_JSON_INTEGER else str(value)


def _receipt_members(receipt: Receipt) -> dict[str, Any]:
    return {name: _written(getattr(receipt, name)) for name in _RECEIPT_TYPES}


def _evidence_members(evidence: SignerEvidence) -> dict[str, Any]:
    members = {
        "sealing_key": hex_of(evidence.sealing_key),
        "operator": hex_of(evidence.operator),
        "anchor_block": _written(evidence.anchor_block),
        "anchor_hash": hex_of(evidence.anchor_hash),
        "quote": hex_of(evidence.quote),
    }
    return members if evidence.collateral is None else members | {"collateral": evidence.collateral.members()}


def _settlement_members(settlement: Settlement) -> dict[str, Any]:
    return {
        "block": settlement.block_number,
        "transaction": hex_of(settlement.transaction_hash),
        "fee_wei": _written(settlement.fee_wei),
        "callback_succeeded": settlement.callback_succeeded,
    }
