"""The verifier in memory, on which life cycles are tested, takes and refuses what the contract does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oracle import anvil
from oracle.attestation.dcap.onchain import steps
from oracle.attestation.development.certificates import Validity
from oracle.attestation.development.dcap import DevelopmentPki
from oracle.chain.dcap import DcapOnChain, calldata
from oracle.chain.errors import RevertedError
from oracle.chain.wallet import Wallet
from oracle.config import Settings
from oracle.types.ids import Address, parse_hex
from oracle.wiring import open_wallet
from tests.fake_verifier import FakeVerifier, bundle_of, collateral_of
from tests.fakes import PKI
from tests.integration.conftest import Chain, build_chain

DAY_S, HOUR_S = 86_400, 3_600
REASONS = {
    "taken",
    "NotNewer",
    "EvaluationNumberLower",
    "CollateralNotCurrent",
    "CertificateAuthorityUnknown",
    "TcbSignerUnknown",
    "CertificateExpired",
    "CrlExpired",
    "CrlNotYetValid",
    "DocumentExpired",
    "IssuerExpired",
    "SerialRevoked",
}


@dataclass
class Both:
    """The contract and the fake, which must take and refuse the same, for the same reason."""

    chain: Chain
    owner: Wallet
    fake: FakeVerifier
    seen: set[str] = field(default_factory=set)

    def offer(self, pki: DevelopmentPki, issued_s: int, **changes: Any) -> None:
        """Every call that could bring any part of a bundle, needed or not, in the order that needs them least."""
        bundle = bundle_of(pki, collateral_of(pki, issued_s, **changes))
        nothing = FakeVerifier(issued_s).held(bundle)
        everything = steps(bundle, nothing, issued_s)
        for step in (*everything[::-1], *everything):
            self.take(calldata(step))
        assert self.contract.held(bundle) == self.fake.held(bundle)

    @property
    def contract(self) -> DcapOnChain:
        address = Address(parse_hex(self.chain.deployment.attestation_verifier, 20, "verifier"))
        return DcapOnChain(self.chain.reader, address)

    @property
    def now_s(self) -> int:
        return self.chain.reader.head().timestamp_s

    def travel(self, seconds: int) -> None:
        self.chain.rpc.call("evm_increaseTime", seconds)
        self.chain.rpc.call("evm_mine")

    def take(self, data: bytes) -> None:
        self.chain.rpc.call("evm_mine")
        try:
            self.owner.send(self.contract.address, data)
            answer = "taken"
        except RevertedError as error:
            answer = error.name
        self.fake.now_s = self.now_s
        try:
            self.fake.call(data)
            expected = "taken"
        except RevertedError as error:
            expected = error.name
        assert answer == expected
        self.seen.add(answer)


def test_verifier_in_memory_takes_and_refuses_what_the_contract_does() -> None:
    with anvil.running() as node:
        chain = build_chain(node, is_supplied=False)
        both = Both(chain, open_wallet(Settings(rpc_url=node.rpc_url), chain.rpc, anvil.ACCOUNTS[0]), FakeVerifier())
        offer_all_sorts(both)
        chain.rpc.close()
    assert both.seen >= REASONS


def offer_all_sorts(both: Both) -> None:
    begun_s = both.now_s
    ends = Validity(begun_s - DAY_S, begun_s + 10 * DAY_S)
    ending = DevelopmentPki(validity=dict.fromkeys(("authority", "tcb_signer", "pck"), ends))
    both.offer(ending, begun_s + HOUR_S)
    both.offer(ending, begun_s - HOUR_S, evaluation_number=18)
    both.offer(ending, begun_s - HOUR_S // 2, evaluation_number=17)
    both.travel(11 * DAY_S)
    both.offer(ending, begun_s - HOUR_S // 4)
    both.offer(PKI, begun_s - HOUR_S // 5)
    both.travel(25 * DAY_S)
    both.offer(DevelopmentPki(validity={"tcb_signer": Validity(begun_s)}), both.now_s - HOUR_S)
    both.offer(PKI, begun_s - HOUR_S // 6)
    serials = (PKI.tcb_signer.certificate.serial_number,)
    both.offer(PKI, both.now_s - 60, revoked_by_root=serials)
