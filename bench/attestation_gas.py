"""
Gas of bringing collateral, verifying quotes and registering keys, by Anvil's receipts; part of `scripts/bench gas`.

With the development PKI always, whose documents have the form of Intel's. The same verifier under Intel's root is
measured on recorded hardware quotes by `tests/integration/test_dcap_onchain.py`.
"""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from oracle import anvil
from oracle.attestation.dcap.onchain import Bundle
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.trim import onchain_evidence
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.quoters.simulated import SimulatedQuoter
from oracle.attestation.sources import DevelopmentSource
from oracle.chain.contracts import abi, encode_register
from oracle.chain.dcap import CONTRACT, DcapOnChain, bring
from oracle.chain.deployment import deploy, development_root
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc, data, quantity
from oracle.chain.wallet import Wallet
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import keccak256
from oracle.devnet import OWNER, PRICES, wallet
from oracle.types.attestation import report_data
from oracle.types.ids import Address, parse_hex

BUDGET: Final = {
    "verify": 105_000,
    "verify_cached": 85_000,
    "register": 165_000,
    "add_pck": 215_000,
    "refresh_tcb_info": 550_000,
}
# Measured the same way on its own samples (Anvil, osaka): research of ours, 2026.
AUTOMATA: Final = {QuoteKind.SGX_V3: 4_660_403, QuoteKind.TDX_V4: 3_988_145, QuoteKind.TDX_V5: 3_733_795}
KINDS: Final = (QuoteKind.SGX_V3, QuoteKind.TDX_V4, QuoteKind.TDX_V5, QuoteKind.TDX_V5_TD15)
_BUILD: Final = keccak256(b"attestation gas bench")


def supply(payer: Wallet, verifier: Address, quoter: SimulatedQuoter) -> dict[str, int]:
    """Bring the collateral of a simulated machine; gas by call."""
    reader = ChainReader(payer.rpc, payer.chain_id, verifier)
    quote, now_s = parse_quote(quoter.quote(bytes(32))), reader.head().timestamp_s
    bundle = Bundle.of(quote, DevelopmentSource().collateral(quote, now_s))
    return dict(bring(payer, DcapOnChain(reader, verifier), bundle, now_s))


def register(payer: Wallet, registry: Address, quoter: SimulatedQuoter, signer: SigningKey) -> int:
    """Register a key on a simulated machine; the transaction's gas."""
    anchor = payer.rpc.call("eth_getBlockByNumber", "latest", False)
    keys = (Address(signer.address), bytes(32), payer.address)
    bound = report_data(anvil.CHAIN_ID, registry, *keys, data(anchor["hash"]))
    evidence = onchain_evidence(parse_quote(quoter.quote(bound))).evidence
    call = encode_register(*keys, quantity(anchor["number"]), evidence)
    return quantity(payer.send(registry, call)["gasUsed"])


def measure_attestation() -> dict[str, int]:
    """Gas by operation and kind of quote."""
    figures: dict[str, int] = {}
    for kind in KINDS:
        with anvil.running() as chain:
            payer, quoter = wallet(Rpc(chain.rpc_url), OWNER), SimulatedQuoter(_BUILD, kind)
            made = deploy(payer, PRICES, [quoter.measurement()], development_root())
            verifier = Address(parse_hex(made.attestation_verifier, 20, "verifier"))
            registry = Address(parse_hex(made.enclave_registry, 20, "registry"))
            name, brought = kind.name.lower(), supply(payer, verifier, quoter)
            figures[f"add_pck_{name}"] = brought["addPck"]
            figures[f"refresh_tcb_info_{name}"] = brought["refreshTcbInfo"]
            evidence = onchain_evidence(parse_quote(quoter.quote(keccak256(b"report"))))
            figures[f"verify_{name}"] = _verify(payer, verifier, evidence.evidence)
            figures[f"register_{name}"] = register(payer, registry, quoter, SigningKey())
            payer.call(CONTRACT, verifier, "cacheAttestationKey", evidence.evidence)
            figures[f"verify_cached_{name}"] = _verify(payer, verifier, evidence.cached)
    return figures


def _verify(payer: Wallet, verifier: Address, evidence: bytes) -> int:
    """A whole transaction that verifies and nothing else."""
    return quantity(payer.send(verifier, abi(CONTRACT).encode("verify", evidence))["gasUsed"])


def show_attestation(figures: dict[str, int]) -> None:
    """Print the table beside budget and Automata."""
    table = Table(title="Gas of attestation, whole transactions, TCB info of two levels", title_justify="left")
    table.add_column("")
    for name in BUDGET:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("Automata verifies for", justify="right")
    for kind in KINDS:
        cells = [f"{figures[f'{name}_{kind.name.lower()}']:,}" for name in BUDGET]
        peer = AUTOMATA.get(kind)
        table.add_row(f"[bold]{kind.value}[/bold]", *cells, f"{peer:,}" if peer else "")
    table.add_row("budget", *(f"{gas:,}" for gas in BUDGET.values()), "")
    Console(width=132).print(table)
