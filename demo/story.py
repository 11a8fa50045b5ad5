"""
What the demo does: four policies of `RainInsurance` over the real weather record of Seattle. The sale is staged after
the fact, because the record is of the past.

1. A drought summer: August 2012 had no rain, the policy pays.
2. A wet winter: December 2015 had 284.5 mm, the policy lapses.
3. Days that the record does not have: the program throws, the receipt says so, the consumer is told, the work is paid.
4. A pool that nobody serves: the request expires and the whole fee comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from oracle.anvil import ACCOUNTS
from oracle.chain.contracts import abi, decode_event
from oracle.chain.publishing import publish
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc, data, quantity
from oracle.chain.settlement import find_end, read_delivery
from oracle.config import Settings
from oracle.crypto.ecdsa import recover
from oracle.devnet import OWNER, wallet
from oracle.errors import RetryableError
from oracle.jobs.content import ContentStore
from oracle.types.block import Created, Expired, Settled
from oracle.types.ids import ZERO_ADDRESS, Address, PoolId, ProgramId, hex_of, parse_hex
from oracle.types.pool import Pool
from oracle.types.program import Capability, Engine, Limits, Manifest

HERE = Path(__file__).parent
RECORD, PROGRAM = HERE / "seattle-weather.csv", HERE / "rain.js"
FARMER = ACCOUNTS[2]
PAYOUT_WEI, PREMIUM_WEI = 10**18, 10**17
SALE_S, CLAIM_S = 3_600, 86_400
OUTPUT_BYTES = 96
CALLBACK_GAS = 120_000
WAIT_S = 300  # RainInsurance.WAIT
_SERVED_WITHIN_S = 60.0
_POLL_S = 0.005
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One policy: less rain than the threshold from the first to the last day pays."""

    name: str
    first_day: int
    last_day: int
    threshold_mm: int


DROUGHT = Case("drought summer, August 2012", 20120801, 20120831, 20)
WET = Case("wet winter, December 2015", 20151201, 20151231, 100)
MISSING = Case("days the record does not have", 20160601, 20160630, 20)
UNSERVED = Case("a pool that nobody serves", 20130701, 20130731, 20)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one request. Gas is of the whole transaction."""

    case: str
    request_id: str
    outcome: str
    decision: str
    fuel: int | None
    fee_gwei: float
    refund_gwei: float
    gas_request: int
    gas_fulfill: int
    latency_ms: float
    latency_blocks: int
    signer: str | None
    measurement: str | None


class Story:
    """The demo's own contracts and accounts on a running stack."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self.settings, self.say = settings, say
        self.rpc = Rpc(settings.rpc_url)
        self.owner, self.farmer = wallet(self.rpc, OWNER), wallet(self.rpc, FARMER)
        self.coprocessor = self._address(settings.coprocessor)
        self.pool = Pool.from_id(PoolId(parse_hex(settings.pool_id or "", 32, "pool_id")))
        self.reader = ChainReader(self.rpc, settings.chain_id, self.coprocessor)
        self.record_hash = b""
        self.program_id = ProgramId(b"")

    def run(self) -> list[Row]:
        """Play all four cases and give what became of them."""
        self._publish()
        insurance = self._insure(self.pool)
        rows = [self._served(insurance, case) for case in (DROUGHT, WET, MISSING)]
        self._withdraw(insurance)
        idle = replace(self.pool, base_fee_gwei=self.pool.base_fee_gwei + 1)  # another price is another pool
        return [*rows, self._expired(self._insure(idle), UNSERVED)]

    # -- set-up --------------------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        record, code = RECORD.read_bytes(), PROGRAM.read_bytes()
        self.record_hash = ContentStore(self.settings.content_dir).put(record)
        self.say(f"kept the weather record, {len(record):,} bytes, as blob {hex_of(self.record_hash)[:18]}…")
        manifest = Manifest(Engine.JS, Limits(), frozenset({Capability.BLOB})).encode()
        registry = self._address(self.settings.program_registry)
        self.program_id = publish(self.owner, registry, manifest, code).program.program_id
        self.say(f"published rain.js, {len(code):,} bytes on chain, as program {hex_of(self.program_id)[:18]}…")

    def _insure(self, pool: Pool) -> Address:
        publisher = hex_of(self.owner.address)
        terms = (hex_of(self.coprocessor), self.program_id, pool.pool_id, publisher)
        insurance = self.owner.create("RainInsurance", *terms)
        self.owner.send(insurance, b"", value_wei=5 * PAYOUT_WEI)
        self.owner.call("RainInsurance", insurance, "publishRecord", self.record_hash)
        self.say(f"deployed RainInsurance at {hex_of(insurance)} with 5 ETH of capital")
        return insurance

    # -- requests ------------------------------------------------------------------------------------------------------

    def _served(self, insurance: Address, case: Case) -> Row:
        created, gas_request, sent_at = self._assess(insurance, case, self.pool)
        end = self._await_end(created)
        latency_ms = (time.monotonic() - sent_at) * 1_000
        assert isinstance(end, Settled)
        decision = self._decision(insurance, end.transaction_hash)
        self.say(f"{case.name}: {end.outcome.name.lower()} in {latency_ms:.0f} ms, {decision}")
        signer, measurement = self._signer(end)
        return self._row(case, created, end, decision, gas_request, latency_ms, signer, measurement)

    def _expired(self, insurance: Address, case: Case) -> Row:
        pool = Pool.from_id(PoolId(self.reader.view("RainInsurance", insurance, "POOL")))
        created, gas_request, sent_at = self._assess(insurance, case, pool)
        self.say(f"{case.name}: nobody answers; letting {WAIT_S} seconds of chain time pass")
        self.rpc.call("evm_increaseTime", WAIT_S + 1)
        self.rpc.call("evm_mine")
        self.farmer.call("Coprocessor", self.coprocessor, "expire", created.request.request_id, pool.pool_id)
        end = self._await_end(created)
        assert isinstance(end, Expired)
        decision = self._decision(insurance, end.transaction_hash)
        self.owner.call("RainInsurance", insurance, "collectRefunds", [hex_of(ZERO_ADDRESS)])
        self.say(f"{case.name}: expired, {decision}, the whole fee is back with the insurer")
        latency_ms = (time.monotonic() - sent_at) * 1_000
        return self._row(case, created, end, decision, gas_request, latency_ms, None, None)

    def _assess(self, insurance: Address, case: Case, pool: Pool) -> tuple[Created, int, float]:
        """Buy the policy and have it assessed: the request, its transaction's gas, and when it was sent."""
        now = self.reader.head().timestamp_s
        days = (case.first_day, case.last_day, now + SALE_S, now + CLAIM_S)
        terms = (hex_of(ZERO_ADDRESS), PAYOUT_WEI, PREMIUM_WEI, case.threshold_mm * 10, *days, 0)
        self.owner.call("RainInsurance", insurance, "offer", terms)
        policy_id = self.reader.view("RainInsurance", insurance, "policyCount")
        self.farmer.call("RainInsurance", insurance, "buy", policy_id, value_wei=PREMIUM_WEI)
        most = (CALLBACK_GAS, Limits().fuel, OUTPUT_BYTES)
        fee_wei = self.reader.view("Coprocessor", self.coprocessor, "quote", pool.pool_id, *most)
        self.say(
            f"{case.name}: policy {policy_id} pays 1 ETH below {case.threshold_mm} mm; asking, at most {fee_wei} wei"
        )
        sent_at = time.monotonic()
        tx_receipt = self.farmer.call("RainInsurance", insurance, "assess", policy_id, value_wei=fee_wei)
        logs = (log for log in tx_receipt["logs"] if data(log["address"]) == self.coprocessor)
        created = decode_event(next(logs), self.settings.chain_id)
        assert isinstance(created, Created)
        return created, quantity(tx_receipt["gasUsed"]), sent_at

    def _await_end(self, created: Created) -> Settled | Expired:
        deadline = time.monotonic() + _SERVED_WITHIN_S
        arguments = (self.rpc, self.settings.chain_id, self.coprocessor, created.request.request_id)
        while time.monotonic() < deadline:
            end = find_end(*arguments, created.block_number)
            if end is not None:
                return end
            time.sleep(_POLL_S)
        raise RetryableError(
            f"request {hex_of(created.request.request_id)} was not served within {_SERVED_WITHIN_S:.0f} s"
        )

    def _withdraw(self, insurance: Address) -> None:
        self.farmer.call("RainInsurance", insurance, "withdraw")
        self.owner.call("RainInsurance", insurance, "collectRefunds", [hex_of(self._payee)])
        self.say("the farmer has withdrawn the payout, the insurer what the requests did not cost")

    # -- what happened -------------------------------------------------------------------------------------------------

    @property
    def _payee(self) -> Address:
        return Address(ACCOUNTS[1].address)

    def _decision(self, insurance: Address, transaction_hash: bytes) -> str:
        """What the insurance made of it, by its own events."""
        names = {topic: name for name, topic in abi("RainInsurance").topics.items()}
        for log in self.rpc.call("eth_getTransactionReceipt", hex_of(transaction_hash))["logs"]:
            if data(log["address"]) == insurance:
                return self._told(names[data(log["topics"][0])], data(log["data"]))
        return "consumer not told"

    @staticmethod
    def _told(event: str, body: bytes) -> str:
        words = [int.from_bytes(body[at : at + 32]) for at in range(0, len(body), 32)]
        if event == "PolicyAssessed":
            rain, _, dry_spell, paid = words
            verdict = "pays" if paid else "does not pay"
            return f"{rain / 10} mm, dry for {dry_spell} days: {verdict}"
        if event == "AssessmentFailed":
            return "consumer told: " + body[96 : 96 + words[2]].decode()
        return "consumer told: expired"

    def _signer(self, end: Settled) -> tuple[str, str]:
        """Who signed, and what build the registry says that is."""
        delivered = read_delivery(self.rpc, self.coprocessor, end.transaction_hash)
        assert delivered is not None
        digest = delivered.receipts[0].digest(self.settings.chain_id, self.coprocessor)
        signer = hex_of(recover(digest, delivered.proof))
        registry = self._address(self.settings.enclave_registry)
        measurement, *_ = self.reader.view("EnclaveRegistry", registry, "enclave", signer)
        return signer, hex_of(measurement)

    def _row(
        self,
        case: Case,
        created: Created,
        end: Settled | Expired,
        decision: str,
        gas_request: int,
        latency_ms: float,
        signer: str | None,
        measurement: str | None,
    ) -> Row:
        tx_receipt = self.rpc.call("eth_getTransactionReceipt", hex_of(end.transaction_hash))
        fee_wei = end.fee_wei if isinstance(end, Settled) else 0
        return Row(
            case=case.name,
            request_id=hex_of(created.request.request_id),
            outcome=end.outcome.name if isinstance(end, Settled) else "EXPIRED",
            decision=decision,
            fuel=end.fuel_used if isinstance(end, Settled) else None,
            fee_gwei=fee_wei / 10**9,
            refund_gwei=(created.request.max_fee_wei - fee_wei) / 10**9,
            gas_request=gas_request,
            gas_fulfill=quantity(tx_receipt["gasUsed"]),
            latency_ms=round(latency_ms, 1),
            latency_blocks=end.block_number - created.block_number,
            signer=signer,
            measurement=measurement,
        )

    @staticmethod
    def _address(text: str | None) -> Address:
        return Address(parse_hex(text or "", 20, "address"))
