"""
`DcapVerifier` with evidence recorded on real hardware, under Intel's root: the same verdict as off chain, at its price.

Evidence is not in this repository; tests skip, saying so, where its folder is absent. The chain's clock is turned to
when the evidence was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from oracle import anvil
from oracle.attestation.dcap.onchain import Bundle, steps
from oracle.attestation.dcap.quote import Quote, parse_quote
from oracle.attestation.dcap.trim import OnchainEvidence, onchain_evidence
from oracle.attestation.errors import CollateralError
from oracle.attestation.verifier import verify as verify_off_chain
from oracle.chain.contracts import abi
from oracle.chain.dcap import DcapOnChain
from oracle.chain.errors import RevertedError
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc
from oracle.chain.wallet import Wallet
from oracle.config import Settings
from oracle.wiring import open_wallet
from tests.unit.attestation.samples import PKI, parts_of, real, unix_s
from tests.unit.attestation.test_real_evidence import GENUINE_QUOTES, PHALA_TDX, REFUSED_QUOTES, everything

MAX_VERIFY_GAS, MAX_VERIFY_CACHED_GAS, MAX_ADD_PCK_GAS, MAX_REFRESH_GAS = 105_000, 85_000, 215_000, 550_000
CONTRACT = "DcapVerifier"


@dataclass(frozen=True)
class Verifier:
    """A verifier under Intel's root on a chain of its own."""

    rpc: Rpc
    wallet: Wallet
    on_chain: DcapOnChain

    def go_to(self, at: str) -> int:
        """Turn the chain's clock; the time of its next block."""
        self.rpc.call("evm_setTime", unix_s(at))
        self.rpc.call("evm_mine")
        return self.on_chain.reader.head().timestamp_s

    def call(self, function: str, *arguments: Any) -> int:
        """What the call costs in gas."""
        receipt = self.wallet.call(CONTRACT, self.on_chain.address, function, *arguments)
        return int(receipt["gasUsed"], 16)

    def view(self, function: str, *arguments: Any) -> Any:
        return self.on_chain.reader.view(CONTRACT, self.on_chain.address, function, *arguments)

    def bring(self, quote: Quote, names: tuple[str, ...], now_s: int) -> dict[str, int]:
        """Cache what the quote needs; what each call cost."""
        bundle = Bundle.of(quote, parts_of(*names).for_quote(quote, now_s))
        spent = {
            step.function: self.call(step.function, *step.arguments)
            for step in steps(bundle, self.on_chain.held(bundle), now_s)
        }
        assert not steps(bundle, self.on_chain.held(bundle), now_s, margin_s=0)
        return spent


def intel_root() -> tuple[bytes, bytes]:
    key = x509.load_der_x509_certificate(real("sgx/intel_root_ca.der")).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    return point[:32], point[32:]


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    x, y = intel_root()
    with anvil.running() as node:
        rpc = Rpc(node.rpc_url)
        wallet = open_wallet(Settings(rpc_url=node.rpc_url), rpc, anvil.ACCOUNTS[0])
        address = wallet.create(CONTRACT, x, y)
        yield Verifier(rpc, wallet, DcapOnChain(ChainReader(rpc, anvil.CHAIN_ID, address), address))
        rpc.close()


def prepared(verifier: Verifier, name: str, parts: tuple[str, ...], at: str) -> tuple[OnchainEvidence, dict[str, int]]:
    now_s = verifier.go_to(at)
    quote = parse_quote(real(name))
    spent = verifier.bring(quote, parts, now_s)
    return onchain_evidence(quote), spent


@pytest.mark.parametrize(("name", "parts", "at", "status", "advisories"), GENUINE_QUOTES)
def test_verify_genuine_sample_says_what_the_off_chain_verifier_says(
    verifier: Verifier, name: str, parts: tuple[str, ...], at: str, status: int, advisories: set[int]
) -> None:
    evidence, _ = prepared(verifier, name, parts, at)
    now_s = verifier.on_chain.reader.head().timestamp_s
    quote = real(name)
    collateral = parts_of(*parts).for_quote(parse_quote(quote), now_s)
    expected = verify_off_chain(quote, collateral, now_s, everything(status, advisories))
    found = verifier.view("verify", evidence.evidence)
    packed = sum(number << 16 * place for place, number in enumerate(sorted(advisories)))
    assert found == (
        expected.measurement,
        expected.report_data,
        expected.platform,
        expected.valid_until_s,
        status,
        expected.evaluation_number,
        expected.out_of_date_since_s,
        packed,
        expected.report_data_tail,
    )
    verifier.call("cacheAttestationKey", evidence.evidence)
    assert verifier.view("verify", evidence.cached) == found


@pytest.mark.parametrize(("name", "parts", "at", "status", "advisories"), GENUINE_QUOTES)
def test_verify_genuine_sample_stays_within_the_gas_budget(
    verifier: Verifier, name: str, parts: tuple[str, ...], at: str, status: int, advisories: set[int]
) -> None:
    evidence, spent = prepared(verifier, name, parts, at)
    assert spent["addPck"] <= MAX_ADD_PCK_GAS
    if parts == PHALA_TDX:  # two levels
        assert spent["refreshTcbInfo"] <= MAX_REFRESH_GAS
    address = verifier.on_chain.address
    for sent, limit in ((evidence.evidence, MAX_VERIFY_GAS), (evidence.cached, MAX_VERIFY_CACHED_GAS)):
        receipt = verifier.wallet.send(address, abi(CONTRACT).encode("verify", sent))
        assert int(receipt["gasUsed"], 16) <= limit
        verifier.call("cacheAttestationKey", evidence.evidence)


@pytest.mark.parametrize(("name", "parts", "at", "error", "reason"), REFUSED_QUOTES)
def test_verify_rejected_sample_is_refused(
    verifier: Verifier, name: str, parts: tuple[str, ...], at: str, error: type[Exception], reason: str
) -> None:
    now_s = verifier.go_to(at)
    quote = parse_quote(real(name))
    names = {"TdAttributesReserved", "DebugEnclave", "DebugTd", "ServiceTdNotZero", "SeptVeDisableOff"}
    names |= {"NoTcbLevelMatches"}
    try:
        verifier.bring(quote, parts, now_s)
    except CollateralError:  # none was recorded for this model
        names = {"PckUnknown"}
    with pytest.raises(RevertedError) as refused:
        verifier.view("verify", onchain_evidence(quote).evidence)
    assert refused.value.name in names


@pytest.mark.parametrize(("name", "parts", "at", "status", "advisories"), GENUINE_QUOTES)
def test_verify_every_flipped_byte_of_a_sample_is_refused(
    verifier: Verifier, name: str, parts: tuple[str, ...], at: str, status: int, advisories: set[int]
) -> None:
    evidence, _ = prepared(verifier, name, parts, at)
    verifier.call("cacheAttestationKey", evidence.evidence)
    for whole in (evidence.evidence, evidence.cached):
        for index in range(len(whole)):
            flipped = bytes((*whole[:index], whole[index] ^ 1 << index % 8, *whole[index + 1 :]))
            with pytest.raises(RevertedError):
                verifier.view("verify", flipped)


def test_verify_after_the_collateral_expired_is_refused_until_it_is_refreshed(verifier: Verifier) -> None:
    name, parts, at, *_ = GENUINE_QUOTES[2]
    evidence, _ = prepared(verifier, name, parts, at)
    verifier.go_to("2025-07-20")
    with pytest.raises(RevertedError) as refused:
        verifier.view("verify", evidence.evidence)
    assert refused.value.name == "CollateralNotCurrent"


def test_development_certificates_under_intels_root_are_refused(verifier: Verifier) -> None:
    collateral = PKI.collateral("TDX")
    verifier.go_to("2025-07-01")
    for function, content in (("refreshRootCrl", collateral.root_ca_crl), ("addTcbSigner", collateral.tcb_signer)):
        with pytest.raises(RevertedError) as refused:
            verifier.call(function, content)
        assert refused.value.name in ("SignatureWrong", "CollateralNotCurrent")
