"""The rules of `oracle.enclave.executor`, under their numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.crypto.hashing import keccak256
from oracle.enclave.main import CEILINGS
from oracle.enclave.outcome import HostError, Result
from oracle.enclave.protocol import Execute
from oracle.enclave.sandbox import Guest
from oracle.types.ids import Address, ProgramId
from oracle.types.pool import Pool
from oracle.types.program import Engine, Limits, Manifest
from oracle.types.receipt import Outcome
from tests.unit.enclave.machine import Machine

ECHO = b"function main(input) { return input }"
LOOP = b"function main() { while (true); }"
TWO_GFUEL = Limits(fuel=2_000_000_000)
ONE_WEI_PER_FUEL = Pool(Address(bytes(20)), 1, 1, 1_000)


@pytest.mark.parametrize(
    "change",
    [
        lambda order: replace(order, engine=Engine.WASM),
        lambda order: replace(order, manifest_hash=bytes(32)),
        lambda order: replace(order, code_hash=bytes(32)),
        lambda order: replace(order, input=order.input + b"!"),
        lambda order: replace(order, request=replace(order.request, program_id=ProgramId(bytes(32)))),
        lambda order: replace(order, request=replace(order.request, input_hash=bytes(32))),
        lambda order: replace(order, request=replace(order.request, deadline_s=0)),
    ],
)
def test_execute_step_1_fields_that_contradict_give_no_receipt(
    machine: Machine, change: Callable[[Execute], Execute]
) -> None:
    order = machine.order(ECHO, b"in")
    with pytest.raises(HostError) as caught:
        machine.execute(change(order))
    assert caught.value.code == "inconsistent_request"
    assert machine.asked == []


@pytest.mark.parametrize("which", ["manifest_hash", "code_hash"])
@pytest.mark.parametrize(("held", "code"), [(None, "content_unavailable"), (b"other", "content_mismatch")])
def test_execute_steps_2_and_5_content_missing_or_wrong_gives_no_receipt_but_can_be_tried_again(
    machine: Machine, which: str, held: bytes | None, code: str
) -> None:
    order = machine.order(ECHO + f"// {which} {code}".encode(), b"in", limits=Limits(fuel=123_456_789))
    machine.forget()
    right = machine.contents.pop(getattr(order, which))
    if held is not None:
        machine.contents[getattr(order, which)] = held
    with pytest.raises(HostError) as caught:
        machine.execute(order)
    assert caught.value.code == code
    machine.publish(right)
    assert machine.execute(order).output == b"in"


def test_execute_blob_missing_or_wrong_gives_no_receipt_but_can_be_tried_again(machine: Machine) -> None:
    name = keccak256(b"late blob")
    code = b"function main(i) { try { return adyton.blob(i) } catch { return 'caught' } }"
    order = machine.order(code, name, capabilities=frozenset({"blob"}))
    with pytest.raises(HostError, match="has no content"):
        machine.execute(order)
    machine.contents[name] = b"forged blob"
    with pytest.raises(HostError, match="another hash"):
        machine.execute(order)
    machine.publish(b"late blob")
    assert machine.execute(order).output == b"late blob"


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "JSON object"),
        (b"{}", "unknown or missing keys"),
        (b"x" * 5_000, "manifest size"),
        (Manifest(Engine.WASM, Limits()).encode(), "engine wasm, the program for js"),
        (Manifest(Engine.JS, replace(CEILINGS, fuel=CEILINGS.fuel + 1)).encode(), "fuel"),
        (Manifest(Engine.JS, replace(CEILINGS, memory_bytes=CEILINGS.memory_bytes + 1)).encode(), "memory_bytes"),
        (Manifest(Engine.JS, replace(CEILINGS, wall_time_ms=30_001)).encode(), "wall_time_ms"),
    ],
)
def test_execute_step_3_manifest_that_may_not_run_is_denied_with_the_reason(
    machine: Machine, manifest: bytes, reason: str
) -> None:
    result = machine.execute(machine.order(ECHO, manifest=manifest))
    assert result.outcome is Outcome.DENIED
    assert reason in result.output.decode()
    assert result.fuel_used == 0


def test_execute_step_3_manifest_at_the_ceilings_runs(machine: Machine) -> None:
    assert machine.execute(machine.order(ECHO, b"in", limits=CEILINGS)).output == b"in"


def test_execute_step_4_input_over_the_cap_is_input_too_large(machine: Machine) -> None:
    limits = Limits(input_bytes=3)
    assert machine.execute(machine.order(ECHO, b"123", limits=limits)).outcome is Outcome.COMPLETED
    result = machine.execute(machine.order(ECHO, b"1234", limits=limits))
    assert result.outcome is Outcome.INPUT_TOO_LARGE
    assert result.output == b"the input has 4 bytes, the manifest allows 3"


def test_execute_step_4_comes_before_step_5(machine: Machine) -> None:
    result = machine.execute(machine.order(b"not a program {", b"1234", limits=Limits(input_bytes=3)))
    assert result.outcome is Outcome.INPUT_TOO_LARGE


def test_execute_step_6_fee_that_affords_nothing_is_out_of_fuel(machine: Machine) -> None:
    result = machine.execute(machine.order(ECHO, pool=ONE_WEI_PER_FUEL, max_fee_gwei=0))
    assert (result.outcome, result.output) == (Outcome.OUT_OF_FUEL, b"out of fuel: the fee affords none")


def test_execute_step_7_fee_that_affords_less_than_the_manifest_says_so(machine: Machine) -> None:
    floor_gwei = 1 + 100  # base fee, and 100,000 gas of callback at 10^6 wei

    def loop(max_fee_gwei: int) -> Result:
        return machine.execute(machine.order(LOOP, pool=ONE_WEI_PER_FUEL, max_fee_gwei=max_fee_gwei, limits=TWO_GFUEL))

    assert loop(floor_gwei).output == b"out of fuel: the fee affords none"
    assert loop(floor_gwei + 1).output == b"out of fuel: the fee affords 1000000000, the manifest allows 2000000000"
    assert loop(floor_gwei + 1).fuel_used == 1_000_000_000
    assert loop(floor_gwei + 2).output == b"out of fuel"


@settings(max_examples=20, deadline=None)
@given(extra_gwei=st.integers(1, 40), price=st.integers(1, 2**32 - 1))
def test_execute_step_7_fuel_is_never_more_than_the_fee_pays_for(
    shared_machine: Machine, extra_gwei: int, price: int
) -> None:
    pool = Pool(Address(bytes(20)), 5, 0, price)
    order = shared_machine.order(LOOP, pool=pool, max_fee_gwei=5 + extra_gwei, limits=Limits(fuel=30_000_000))
    result = shared_machine.execute(order)
    assert result.outcome is Outcome.OUT_OF_FUEL
    uncapped = pool.cost_wei(order.request.callback_gas, result.fuel_used, len(result.output))
    assert uncapped <= order.request.max_fee_wei


def test_execute_step_8_fee_that_does_not_afford_the_output_is_output_too_large(machine: Machine) -> None:
    pool = Pool(Address(bytes(20)), base_fee_gwei=1, gas_price_mwei=1_000, fuel_price_wei_per_1000=0)
    floor_gwei = 1 + 100_000  # base fee, and 100,000 gas of callback at 1 gwei
    output_gwei = 40 * 1_000  # EIP-7623: 40 gas a byte

    def echo(max_fee_gwei: int) -> Result:
        return machine.execute(machine.order(ECHO, b"x" * 1_000, pool=pool, max_fee_gwei=max_fee_gwei))

    refused, served = echo(floor_gwei + output_gwei - 1), echo(floor_gwei + output_gwei)
    assert refused.outcome is Outcome.OUTPUT_TOO_LARGE
    assert b"does not afford fuel and output" in refused.output
    assert (served.outcome, len(served.output)) == (Outcome.COMPLETED, 1_000)
    assert refused.fuel_used > 0


def test_execute_program_known_asks_for_nothing(machine: Machine) -> None:
    order = machine.order(ECHO, b"again")
    machine.execute(order)
    machine.asked.clear()
    assert machine.execute(order).output == b"again"
    assert machine.asked == []


def test_execute_broken_program_known_asks_for_nothing_and_says_the_same(machine: Machine) -> None:
    order = machine.order(b"}{")
    first = machine.execute(order)
    machine.asked.clear()
    assert machine.execute(order) == first
    assert machine.asked == []


def test_execute_same_code_under_two_manifests_is_two_programs(machine: Machine) -> None:
    code = b"function main() { return new Uint8Array(100) }"
    assert machine.execute(machine.order(code, limits=Limits(output_bytes=99))).outcome is Outcome.OUTPUT_TOO_LARGE
    assert machine.execute(machine.order(code, limits=Limits(output_bytes=100))).outcome is Outcome.COMPLETED


def test_execute_no_room_for_an_instance_is_an_error_and_no_receipt(machine: Machine) -> None:
    order = machine.order(ECHO, b"room")
    machine.execute(order)
    javascript = machine.executor._javascript
    with ExitStack() as crowd:
        for _ in range(4):  # all that the pool holds
            crowd.enter_context(Guest(javascript._sandbox, javascript._module, 4 << 20))
        with pytest.raises(HostError) as caught:
            machine.execute(order)
    assert caught.value.code == "internal"
    assert machine.execute(order).output == b"room"
