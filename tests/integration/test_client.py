"""The Python SDK against a real chain with a real pool, enclave included."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from oracle import anvil
from oracle.attestation.development.dcap import DevelopmentPki
from oracle.attestation.errors import CollateralError, UntrustedRootError
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.chain.errors import RevertedError
from oracle.client import Adyton, Answer, AsyncAdyton, Created, Cursor, Expired, Outcome, Settled, Undone
from oracle.client.errors import (
    EvidenceMissingError,
    OtherCoprocessorError,
    OtherSignerError,
    OtherVerifierError,
    ProgramNotPublishedError,
    RequestOverdueError,
    RequestUnknownError,
    UnknownMeasurementError,
    WaitTimeoutError,
)
from oracle.config import Settings
from oracle.devnet import toml
from oracle.enclave.measurement import measure
from oracle.errors import ConfigurationError, LimitExceededError
from oracle.supervisor import running
from oracle.types.ids import Address, PoolId, hex_of
from tests.fakes import MEASUREMENT
from tests.integration.conftest import Chain, build_chain, pool_settings

REVERSE = "function main(input) { return input.reverse() }"
ASKER = anvil.ACCOUNTS[3]
ROOT = DevelopmentPki().root.der
DOC = Path(__file__).parents[2] / "docs" / "SDK.md"


@dataclass
class Network:
    """A chain with a pool on it."""

    chain: Chain
    settings: Settings

    def adyton(self) -> Adyton:
        return Adyton.from_settings(self.settings, account=ASKER)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with anvil.running() as node:
        chain = build_chain(node, (MEASUREMENT, simulated_measurement(measure())))
        settings = pool_settings(chain, tmp_path_factory.mktemp("pool"))
        with running(settings):
            yield Network(chain, settings)
        chain.rpc.close()


@pytest.fixture(scope="module")
def adyton(network: Network) -> Iterator[Adyton]:
    with network.adyton() as made:
        yield made


@pytest.fixture(scope="module")
def asked(adyton: Adyton) -> Created:
    created = adyton.request(adyton.publish(REVERSE), b"abc")
    adyton.wait(created, 60)
    return created


@pytest.fixture(scope="module")
def document(adyton: Adyton, asked: Created) -> str:
    return adyton.receipt(asked).json()


@pytest.fixture
def alone(chain: Chain, tmp_path: Path) -> Iterator[Adyton]:
    """On a chain without a pool."""
    with Adyton.from_settings(pool_settings(chain, tmp_path), account=ASKER) as made:
        yield made


def test_wait_request_served_gives_what_the_chain_accepted(adyton, asked):
    answer = adyton.wait(asked.request_id, confirmations=0)
    assert isinstance(answer, Answer)
    assert (answer.outcome, answer.output, answer.reason) == (Outcome.COMPLETED, b"cba", None)
    assert answer.fee_wei <= asked.request.max_fee_wei == adyton.quote(asked.request.program_id)
    assert adyton.withdraw_refunds([answer.payee]) == asked.request.max_fee_wei - answer.fee_wei


def test_publish_again_sends_nothing(network, adyton, asked):
    before = network.chain.reader.head().number
    assert adyton.publish(REVERSE).program_id == asked.request.program_id
    assert network.chain.reader.head().number == before


def test_verify_by_the_chain_and_by_evidence_agree(adyton, asked, document):
    trust = {"trusted_measurements": [hex_of(simulated_measurement(measure()))], "root": ROOT}
    both = adyton.verify(document, **trust)
    alone = adyton.verify(document, **trust, offline=True)
    assert (both.request, both.output) == (asked.request, b"cba")
    assert both.attestation == alone.attestation is not None
    assert both.live_until_s is not None
    assert alone.live_until_s is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"trusted_measurements": [bytes(32)], "root": ROOT}, UnknownMeasurementError),
        ({"trusted_measurements": [bytes(32)]}, UntrustedRootError),
        ({"offline": True, "root": ROOT}, UnknownMeasurementError),
        ({"offline": True, "root": ROOT, "at_s": 1_764_000_000 + 86_400 * 900}, CollateralError),
    ],
)
def test_verify_untrusted_evidence_is_refused(adyton, document, options, error):
    with pytest.raises(error):
        adyton.verify(document, **options)


def test_verify_changed_receipt_is_refused(network, adyton, document, asked):
    with pytest.raises(OtherSignerError):
        adyton.verify(document.replace('"fuel_used": ', '"fuel_used": 1'))
    with pytest.raises(EvidenceMissingError):
        adyton.verify(adyton.receipt(asked, with_evidence=False), offline=True)
    other = network.chain.deployment.program_registry
    with Adyton.from_settings(replace(network.settings, coprocessor=other)) as elsewhere, \
            pytest.raises(OtherCoprocessorError):  # fmt: skip
        elsewhere.verify(document, offline=True)
    pool_id = hex_of(PoolId(b"\x01" * 32))
    with Adyton.from_settings(replace(network.settings, pool_id=pool_id)) as other_pool, \
            pytest.raises(OtherVerifierError):  # fmt: skip
        other_pool.verify(document)


def test_async_requests_wait_at_once_and_stream_in_order(network):
    async def session() -> tuple[list[object], list[object]]:
        async with AsyncAdyton.from_settings(network.settings, account=anvil.ACCOUNTS[2]) as adyton:
            program = await adyton.publish(REVERSE)
            requests = [await adyton.request(program, b"%d" % number) for number in range(3)]
            answers = await asyncio.gather(*(adyton.wait(each, 60) for each in requests))
            consumer = requests[0].request.consumer
            items = [item async for item in await adyton.stream(consumer=consumer, start=0, until_head=True)]
            verified = await adyton.verify(await adyton.receipt(requests[2]))
            assert verified.output == b"2"
            return [answer.output for answer in answers if isinstance(answer, Answer)], items

    outputs, items = asyncio.run(session())
    assert outputs == [b"0", b"1", b"2"]
    assert [type(item) for item in items].count(Created) == [type(item) for item in items].count(Settled) == 3


def test_example_of_the_documentation_run_as_pasted(network, tmp_path):
    settings = tmp_path / ".adyton" / "dev" / "adyton.toml"
    settings.parent.mkdir(parents=True)
    key = settings.with_name("account.key")
    key.touch(mode=0o600)
    key.write_text(hex_of(anvil.ACCOUNTS[0].secret))
    names = ("rpc_url", "chain_id", "coprocessor", "program_registry", "pool_id", "collateral_source")
    values = {name: getattr(network.settings, name) for name in names}
    settings.write_text(toml(values | {"account_key_file": key.name}))
    found = re.search(r"^```python\n(.*?)^```", DOC.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    assert len(found[1].splitlines()) <= 15
    root = str(DOC.parents[1])
    done = subprocess.run(
        [sys.executable, "-c", found[1]], cwd=tmp_path, env={"PYTHONPATH": root}, check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert re.fullmatch(r"COMPLETED 144 for \d+ wei\nverified: COMPLETED\n", done.stdout), done.stderr


def test_wait_nobody_serves_times_out_then_is_overdue_then_expires(chain, alone):
    created = alone.request(chain.program, b"x", wait_s=1_000)
    with pytest.raises(WaitTimeoutError):
        alone.wait(created, timeout_s=0)
    with pytest.raises(RevertedError, match="DeadlineNotPassed"):
        alone.expire(created)
    chain.rpc.batch([("evm_increaseTime", (2_000,)), ("anvil_mine", ())])
    with pytest.raises(RequestOverdueError):
        alone.wait(created)
    alone.expire(created)
    assert isinstance(alone.wait(created), Expired)
    assert alone.withdraw_refunds() == created.request.max_fee_wei


def test_wait_request_reorganised_away_says_so(chain, alone):
    created = alone.request(chain.program, b"x")
    chain.rpc.call("anvil_reorg", 1, [])
    with pytest.raises(RequestUnknownError):
        alone.wait(created)
    with pytest.raises(RequestUnknownError):
        alone.wait(b"\x11" * 32)


def test_stream_reorganised_undoes_and_goes_on_after_a_restart(chain, alone):
    stream = alone.stream(consumer=Address(ASKER.address))
    first = alone.request(chain.program, b"1")
    assert next(stream) == first
    chain.rpc.call("anvil_reorg", 1, [])
    assert next(stream) == Undone(first)
    second = alone.request(chain.program, b"2")
    assert next(stream) == second
    kept = Cursor.parse(stream.cursor.json())
    rest = alone.stream(consumer=Address(ASKER.address), start=kept, until_head=True)
    assert list(rest) == [second]
    assert rest.cursor.open == {second.request_id}
    assert list(alone.stream(start=rest.cursor, confirmations=1, until_head=True)) == []


def test_request_that_cannot_be_made_costs_nothing(chain, alone):
    before = chain.reader.head().number
    with pytest.raises(ProgramNotPublishedError):
        alone.request("0x" + "11" * 32)
    with pytest.raises(LimitExceededError):
        alone.request(chain.program, bytes(70_000))
    with pytest.raises(RevertedError, match="FeeTooSmall"):
        alone.request(chain.program, max_fee_wei=10**9)
    with Adyton(chain.node.rpc_url, chain_id=31337, coprocessor=chain.deployment.coprocessor) as reading, \
            pytest.raises(ConfigurationError, match="program_registry"):  # fmt: skip
        reading.publish(REVERSE)
    assert chain.reader.head().number == before
