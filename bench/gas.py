"""
Gas of whole transactions by Anvil's receipts, beside what the peers need: `scripts/bench gas [--json]`.

Steady state: every slot that is touched has been touched before. 32-byte input and output, a callback that stores one
word, fee in ETH with a part refunded. The same figures are snapshotted by `tests/contracts/unit/Gas.t.sol`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.attestation_gas import measure_attestation, register, show_attestation, supply
from oracle import anvil
from oracle.attestation.quoters.simulated import SimulatedQuoter, simulated_measurement
from oracle.chain.contracts import (
    decode_event,
    encode_expire,
    encode_fulfill,
    encode_fulfill_batch,
    parse_artifact,
)
from oracle.chain.deployment import deploy, development_root
from oracle.chain.rpc import Rpc, quantity
from oracle.chain.wallet import Wallet
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import keccak256
from oracle.devnet import OWNER, PRICES, RELAY, wallet
from oracle.types.block import Created
from oracle.types.ids import Address, PoolId, RequestId, parse_hex
from oracle.types.receipt import Outcome, Receipt, batch_digest

CONSUMER = Path(__file__).parent.parent / "build" / "artifacts" / "GasConsumer.json"
BUDGET = {"request": 64_000, "fulfill": 50_000, "batch_item_10": 17_000, "batch_item_50": 13_500, "expire": 45_000}
BATCHES = (10, 50)
MAX_FEE_WEI = 10**15
FUEL_USED = 500_000
# Measured with the same method on the peers' own code (Anvil 1.7.1, prague); expiry where there is one.
PEERS: tuple[tuple[str, dict[str, int | None]], ...] = (
    ("Infernet, unpaid, no proof", {"request": 156_549, "fulfill": 100_784}),
    ("Infernet, paid in ETH, no proof", {"request": 196_661, "fulfill": 151_229}),
    ("Phala rollup, unpaid", {"request": 176_461, "fulfill": 79_776}),
    ("Chainlink Functions, n=4", {"request": 198_373, "fulfill": 166_688, "batch_item_10": 59_405, "expire": 44_585}),
    ("Oyster Relay", {"request": 306_967, "fulfill": 120_735}),
)
_BUILD = keccak256(b"gas bench")


@dataclass(frozen=True, slots=True)
class Bench:
    """A deployment with one registered signer, and the consumer that asks."""

    owner: Wallet
    relay: Wallet
    signer: SigningKey
    coprocessor: Address
    pool_id: PoolId
    consumer: Address
    ask_selector: bytes

    def ask(self, number: int) -> tuple[RequestId, int]:
        """One request and its gas."""
        calldata = self.ask_selector + keccak256(number.to_bytes(32))
        tx_receipt = self.owner.send(self.consumer, calldata, value_wei=MAX_FEE_WEI)
        created = decode_event(tx_receipt["logs"][0], anvil.CHAIN_ID)
        assert isinstance(created, Created)
        return created.request.request_id, quantity(tx_receipt["gasUsed"])

    def receipt(self, request_id: RequestId) -> tuple[Receipt, bytes]:
        """A receipt for the request, with its output."""
        output = keccak256(request_id)
        payee = self.relay.address
        return Receipt(request_id, Outcome.COMPLETED, keccak256(output), FUEL_USED, payee), output

    def fulfill(self, request_id: RequestId) -> int:
        """Settle one request and give the transaction's gas."""
        delivery = self.receipt(request_id)
        proof = self.signer.sign(delivery[0].digest(anvil.CHAIN_ID, self.coprocessor))
        return self._send(encode_fulfill(self.pool_id, delivery, proof))

    def fulfill_batch(self, request_ids: Sequence[RequestId]) -> int:
        """Settle several by one signature and give the transaction's gas."""
        deliveries = [self.receipt(request_id) for request_id in request_ids]
        digest = batch_digest([receipt for receipt, _ in deliveries], anvil.CHAIN_ID, self.coprocessor)
        return self._send(encode_fulfill_batch(self.pool_id, deliveries, self.signer.sign(digest)))

    def expire(self, request_id: RequestId) -> int:
        """Let the deadline pass, expire the request, and give the transaction's gas."""
        self.relay.rpc.call("evm_increaseTime", 2 * 3_600)
        self.relay.rpc.call("evm_mine")
        return self._send(encode_expire(request_id, self.pool_id))

    def _send(self, calldata: bytes) -> int:
        return quantity(self.relay.send(self.coprocessor, calldata)["gasUsed"])


def set_up(rpc: Rpc) -> Bench:
    """Deploy everything and register one signer."""
    owner, relay, signer = wallet(rpc, OWNER), wallet(rpc, RELAY), SigningKey()
    made = deploy(owner, PRICES, [simulated_measurement(_BUILD)], development_root())
    coprocessor = Address(parse_hex(made.coprocessor, 20, "coprocessor"))
    registry = Address(parse_hex(made.enclave_registry, 20, "enclave registry"))
    pool_id = PoolId(parse_hex(made.pool_id, 32, "pool id"))
    consumer_abi = parse_artifact("GasConsumer", CONSUMER.read_text())
    created = owner.send(Address(b""), consumer_abi.creation(made.coprocessor, bytes(32), pool_id))
    consumer = Address(parse_hex(created["contractAddress"], 20, "consumer"))

    supply(owner, Address(parse_hex(made.attestation_verifier, 20, "verifier")), SimulatedQuoter(_BUILD))
    register(relay, registry, SimulatedQuoter(_BUILD), signer)
    return Bench(owner, relay, signer, coprocessor, pool_id, consumer, consumer_abi.functions["ask"][0])


def measure(bench: Bench) -> dict[str, int]:
    """Gas by operation; of batches, per item."""
    bench.fulfill(bench.ask(0)[0])  # from here on every slot is warm
    bench.expire(bench.ask(1)[0])
    request_id, request = bench.ask(2)
    figures = {"request": request, "fulfill": bench.fulfill(request_id)}
    for count in BATCHES:
        request_ids = [bench.ask(1_000 * count + number)[0] for number in range(count)]
        figures[f"batch_item_{count}"] = bench.fulfill_batch(request_ids) // count
    figures["expire"] = bench.expire(bench.ask(3)[0])
    return figures


def show(figures: dict[str, int]) -> None:
    """Print the table beside budget and peers."""
    table = Table(title="Gas of whole transactions, steady state", title_justify="left")
    table.add_column("")
    for name in figures:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("request + fulfill", justify="right")
    total = figures["request"] + figures["fulfill"]
    table.add_row("[bold]Adyton[/bold]", *(f"{gas:,}" for gas in figures.values()), f"{total:,}")
    table.add_row("budget", *(f"{BUDGET[name]:,}" for name in figures), "", end_section=True)
    for peer, gas in PEERS:
        cells = [f"{value:,}" if (value := gas.get(name)) else "" for name in figures]
        both = (gas["request"] or 0) + (gas["fulfill"] or 0)
        table.add_row(peer, *cells, f"{both:,} ({both / total:.1f}x)")
    Console(width=132).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="scripts/bench gas")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with anvil.running() as chain:
        figures = measure(set_up(Rpc(chain.rpc_url)))
    attestation = measure_attestation()
    if options.json:
        print(json.dumps({**figures, **attestation}))
    else:
        show(figures)
        show_attestation(attestation)


if __name__ == "__main__":
    main()
