"""
What anybody can check from outside, with nothing but a node: was each request ended once, and is all money there?

1. Each request on chain was settled or expired exactly once, and nothing ended that was not asked.
2. What was settled has the output that the program gives, and went to a payee of ours.
3. Fees and refunds add up to what was escrowed: by the events, by the contract's tabs, by its balance, and by what
   payees and consumers could withdraw now.
4. Each relay account's nonces have no gap: all are mined, none waits in the mempool, and each transaction is of a kind
   that a relay sends.

Only the chain is read, never the pool's store. The node has to be an honest one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oracle.chain.contracts import abi, decode_event
from oracle.chain.errors import RpcError
from oracle.chain.rpc import Rpc, data, quantity
from oracle.errors import EncodingError
from oracle.types.block import Created, Event, Expired, Settled
from oracle.types.ids import ZERO_ADDRESS, Address, ProgramId, RequestId, hex_of

_SELECTORS = {
    abi(contract).functions[function][0]: function
    for contract, functions in {
        "Coprocessor": ("fulfill", "fulfillBatch", "expire"),
        "EnclaveRegistry": ("register",),
        "DcapVerifier": (
            "addCertificateAuthority",
            "addPck",
            "addTcbSigner",
            "refreshPckCrl",
            "refreshQeIdentity",
            "refreshRootCrl",
            "refreshTcbInfo",
        ),
    }.items()
    for function in functions
}
_FILL = "fill"
_FULL_BLOCKS = 100  # per call
Expected = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What is audited, by whom it is served, and what its programs should answer."""

    rpc: Rpc
    chain_id: int
    coprocessor: Address
    relays: tuple[Address, ...]
    payees: tuple[Address, ...]
    program_id: ProgramId
    expected: Expected  # the program's output for an input


@dataclass
class History:
    """The chain from its first block to its newest, as far as it concerns us."""

    created: list[Created] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    expired: list[Expired] = field(default_factory=list)
    outputs: dict[bytes, bytes] = field(default_factory=dict)
    nonces: dict[Address, list[int]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    reverted: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. Nothing in `faults` means that all is well."""

    requests: int
    settled: int
    expired: int
    fees_wei: int
    refunds_wei: int
    transactions: Mapping[str, int]  # of the relays, by what they call
    reverted: Mapping[str, int]
    faults: tuple[str, ...]

    def __str__(self) -> str:
        sent = ", ".join(f"{kind} {count}" for kind, count in sorted(self.transactions.items()))
        lost = ", ".join(f"{kind} {count}" for kind, count in sorted(self.reverted.items())) or "none"
        verdict = "\n  ".join(("FAULTS:", *self.faults)) if self.faults else "no faults"
        return (
            f"{self.requests} requests: {self.settled} settled, {self.expired} expired; "
            f"fees {self.fees_wei} wei, refunds {self.refunds_wei} wei; "
            f"relay transactions: {sent or 'none'}; reverted: {lost}; {verdict}"
        )


def audit(deployed: Deployed) -> Report:
    """Read the whole chain and say what is wrong with it."""
    history = read(deployed)
    faults = [
        *_ends(deployed, history),
        *_outputs(deployed, history),
        *_money(deployed, history),
        *_nonces(deployed, history),
    ]
    escrowed = sum(created.request.max_fee_wei for created in history.created)
    fees = sum(settled.fee_wei for settled in history.settled)
    return Report(
        len(history.created),
        len(history.settled),
        len(history.expired),
        fees,
        escrowed - fees,
        history.kinds,
        history.reverted,
        tuple(faults),
    )


def read(deployed: Deployed) -> History:
    """All blocks, with their transactions, and the contract's logs."""
    history, rpc = History(), deployed.rpc
    head = quantity(rpc.call("eth_blockNumber"))
    for first in range(0, head + 1, _FULL_BLOCKS):
        numbers = range(first, min(head + 1, first + _FULL_BLOCKS))
        for block in rpc.batch([("eth_getBlockByNumber", (hex(number), True)) for number in numbers]):
            for transaction in block["transactions"]:
                _note_transaction(deployed, history, transaction)
    query = {"address": hex_of(deployed.coprocessor), "fromBlock": "0x0", "toBlock": hex(head)}
    for log in rpc.call("eth_getLogs", query):
        _note_event(history, _event(log, deployed.chain_id))
    return history


def open_requests(deployed: Deployed) -> set[RequestId]:
    """Those that neither were settled nor expired so far."""
    query = {"address": hex_of(deployed.coprocessor), "fromBlock": "0x0", "toBlock": "latest"}
    events = [_event(log, deployed.chain_id) for log in deployed.rpc.call("eth_getLogs", query)]
    asked = {event.request.request_id for event in events if isinstance(event, Created)}
    return asked - {event.request_id for event in events if isinstance(event, Settled | Expired)}


def is_settled_down(deployed: Deployed) -> bool:
    """Whether nothing of the relays waits to be mined."""
    return all(mined == pending for mined, pending in (_counts(deployed, relay) for relay in deployed.relays))


def _event(log: Mapping[str, Any], chain_id: int) -> Event | None:
    try:
        return decode_event(log, chain_id)
    except EncodingError:
        return None  # of measurements, owners, skipped items


def _note_event(history: History, event: Event | None) -> None:
    match event:
        case Created():
            history.created.append(event)
        case Settled():
            history.settled.append(event)
        case Expired():
            history.expired.append(event)


def _note_transaction(deployed: Deployed, history: History, transaction: Mapping[str, Any]) -> None:
    sender, calldata = Address(data(transaction["from"])), data(transaction["input"])
    kind = _SELECTORS.get(calldata[:4], "unknown") if calldata else _FILL
    history.outputs |= _delivered(kind, calldata)
    if sender not in deployed.relays:
        return
    history.nonces.setdefault(sender, []).append(quantity(transaction["nonce"]))
    history.kinds[kind] += 1
    outcome = deployed.rpc.call("eth_getTransactionReceipt", transaction["hash"])
    if outcome["status"] != "0x1":
        history.reverted[kind] += 1


def _delivered(kind: str, calldata: bytes) -> dict[bytes, bytes]:
    """Outputs in the calldata of a delivery, by request."""
    if kind == "fulfill":
        arguments = _decode("fulfill", calldata)
        return {arguments[0]: arguments[6]}
    if kind == "fulfillBatch":
        return {item[0]: item[3] for item in _decode("fulfillBatch", calldata)[1]}
    return {}


def _decode(function: str, calldata: bytes) -> Sequence[Any]:
    from eth_abi.abi import decode  # noqa: PLC0415  # by its types; our own code only ever encodes calls

    return decode(abi("Coprocessor").functions[function][1], calldata[4:])


def _ends(deployed: Deployed, history: History) -> Iterator[str]:
    """1."""
    asked = Counter(created.request.request_id for created in history.created)
    ended = Counter(end.request_id for end in (*history.settled, *history.expired))
    for request_id, count in asked.items():
        if count != 1:
            yield f"request {hex_of(request_id)} was created {count} times"
        if ended[request_id] != 1:
            yield f"request {hex_of(request_id)} ended {ended[request_id]} times"
    for request_id in ended.keys() - asked.keys():
        yield f"request {hex_of(request_id)} ended and nobody asked for it"
    counted = _view(deployed, "nonce")
    if counted != len(history.created):
        yield f"the contract counts {counted} requests, its log {len(history.created)}"


def _outputs(deployed: Deployed, history: History) -> Iterator[str]:
    """2."""
    inputs = {
        created.request.request_id: created.input
        for created in history.created
        if created.request.program_id == deployed.program_id
    }
    for settled in history.settled:
        if settled.payee not in deployed.payees:
            yield f"request {hex_of(settled.request_id)} paid {hex_of(settled.payee)}, who is none of ours"
        given = inputs.get(settled.request_id)
        if given is not None and history.outputs.get(settled.request_id) != deployed.expected(given):
            yield f"request {hex_of(settled.request_id)} has another output than its program gives"


def _money(deployed: Deployed, history: History) -> Iterator[str]:
    """3."""
    requests = {created.request.request_id: created.request for created in history.created}
    earned: Counter[tuple[Address, Address]] = Counter()  # by consumer and payee
    refunded: Counter[tuple[Address, Address]] = Counter()
    for settled in history.settled:
        if settled.request_id in requests:
            request = requests[settled.request_id]
            earned[request.consumer, settled.payee] += settled.fee_wei
            refunded[request.consumer, settled.payee] += request.max_fee_wei - settled.fee_wei
    for expired in history.expired:
        if expired.request_id in requests:
            request = requests[expired.request_id]
            refunded[request.consumer, ZERO_ADDRESS] += request.max_fee_wei
    for pair in {*earned, *refunded}:
        found = tuple(_view(deployed, "tab", *map(hex_of, pair)))
        if found != (earned[pair], refunded[pair]):
            yield f"tab of {hex_of(pair[0])} with {hex_of(pair[1])} is {found}, not {earned[pair], refunded[pair]}"
    escrowed = sum(request.max_fee_wei for request in requests.values())
    balance = quantity(deployed.rpc.call("eth_getBalance", hex_of(deployed.coprocessor), "latest"))
    if not balance == escrowed == earned.total() + refunded.total():
        yield f"escrowed {escrowed} wei, earned {earned.total()}, refunded {refunded.total()}, balance {balance}"
    yield from _withdrawals(deployed, "withdrawEarnings", {(payee, who): sum_ for (who, payee), sum_ in earned.items()})
    yield from _withdrawals(deployed, "withdrawRefunds", refunded)


def _withdrawals(deployed: Deployed, function: str, due: Mapping[tuple[Address, Address], int]) -> Iterator[str]:
    """Whether each could withdraw now what it is due, by (who, from whom)."""
    for who in {pair[0] for pair in due}:
        others = {other: wei for (owner, other), wei in due.items() if owner == who and wei}
        if not others:
            continue
        calldata = abi("Coprocessor").encode(function, [hex_of(other) for other in others], hex_of(who))
        call = {"from": hex_of(who), "to": hex_of(deployed.coprocessor), "data": hex_of(calldata)}
        amount: int | None = None
        with contextlib.suppress(RpcError):  # it reverts
            amount = quantity(deployed.rpc.call("eth_call", call, "latest"))
        if amount != sum(others.values()):
            yield f"{hex_of(who)} could withdraw {amount} wei by {function}, not {sum(others.values())}"


def _nonces(deployed: Deployed, history: History) -> Iterator[str]:
    """4."""
    for relay in deployed.relays:
        mined, pending = _counts(deployed, relay)
        if mined != pending:
            yield f"relay {hex_of(relay)} has {mined} transactions mined and {pending - mined} more waiting"
        if sorted(history.nonces.get(relay, [])) != list(range(mined)):
            yield f"relay {hex_of(relay)} used other nonces than 0 to {mined - 1}"
    waiting = deployed.rpc.call("txpool_content")
    for relay in deployed.relays:
        for where in ("pending", "queued"):
            stranded = [nonces for sender, nonces in waiting[where].items() if data(sender) == relay]
            if stranded:
                yield f"relay {hex_of(relay)} has stranded transactions: nonces {sorted(stranded[0])} {where}"
    if history.kinds["unknown"]:
        yield f"{history.kinds['unknown']} transactions of relays call something that no relay calls"


def _counts(deployed: Deployed, relay: Address) -> tuple[int, int]:
    tags = ("latest", "pending")
    mined, pending = deployed.rpc.batch([("eth_getTransactionCount", (hex_of(relay), tag)) for tag in tags])
    return quantity(mined), quantity(pending)


def _view(deployed: Deployed, function: str, *arguments: Any) -> Any:
    contract = abi("Coprocessor")
    call = {"to": hex_of(deployed.coprocessor), "data": hex_of(contract.encode(function, *arguments))}
    return contract.decode(function, data(deployed.rpc.call("eth_call", call, "latest")))
