"""Output and fuel depend on the program and its request alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.types.program import Engine, Limits
from oracle.types.receipt import Outcome
from tests.unit.enclave.machine import Machine
from tests.unit.enclave.test_webassembly import module

PROGRAM = """
const cache = new Map(); for (let i = 0; i < 300; i++) cache.set(`key${i}`, { i, list: [i, i + 1] });
async function main(input, request) {
  const words = new TextDecoder().decode(input).split(' ').sort();
  await null;
  return JSON.stringify([words, Math.random(), Date.now(), [...cache.keys()].length, new Error('x').stack, request.id,
    0.1 + 0.2, Math.sin(1e10), (2n ** 200n).toString(36)]);
}"""
WASM = module("(drop (call $random (i32.const 0) (i32.const 16))) (call $output (i32.const 0) (i32.const 16))")
_ELSEWHERE = """
import sys
from oracle.enclave.compiler import Compiler
from tests.unit.enclave.machine import Machine
from tests.unit.enclave.test_determinism import PROGRAM, WASM
machine = Machine(Compiler())
results = machine.js(PROGRAM, b"b a c"), machine.wasm(WASM)
machine.close()
print(*(f"{result.outcome.name} {result.fuel_used} {result.output.hex()}" for result in results))
"""


def test_js_cold_and_warm_caches_give_the_same_result(machine: Machine) -> None:
    machine.forget()
    cold = machine.js(PROGRAM, b"b a c")
    warm = machine.js(PROGRAM, b"b a c")
    machine.forget()
    assert cold.outcome is Outcome.COMPLETED
    assert cold == warm == machine.js(PROGRAM, b"b a c")


def test_js_other_jobs_between_do_not_change_the_result(machine: Machine) -> None:
    before = machine.js(PROGRAM, b"b a c")
    machine.js("function main() { for (let i = 0; i < 1e5; i++) Math.random() }")
    machine.wasm(WASM)
    assert machine.js(PROGRAM, b"b a c") == before


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_both_engines_in_another_process_give_the_same_result(machine: Machine, hash_seed: str) -> None:
    here = machine.js(PROGRAM, b"b a c"), machine.wasm(WASM)
    expected = " ".join(f"{result.outcome.name} {result.fuel_used} {result.output.hex()}" for result in here)
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root), "TZ": "Asia/Tokyo"}
    there = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE], check=True, capture_output=True, text=True, env=environment, cwd=root
    )
    assert there.stdout.strip() == expected


def test_random_differs_between_requests_and_not_within_one(machine: Machine) -> None:
    program = "function main() { return [1, 2, 3].map(() => Math.random()).join() }"
    outputs = {machine.js(program, nonce=nonce).output for nonce in range(20)}
    assert len(outputs) == 20
    assert len(set(machine.js(program).output.split(b","))) == 3


@settings(max_examples=25, deadline=None)
@given(data=st.binary(max_size=200), fuel=st.integers(1, 600_000))
def test_js_any_input_and_fuel_is_repeatable(shared_machine: Machine, data: bytes, fuel: int) -> None:
    program = "function main(i) { return i.map((x) => x * 3).toReversed() }"
    first = shared_machine.js(program, data, limits=Limits(fuel=fuel))
    assert first == shared_machine.js(program, data, limits=Limits(fuel=fuel))
    assert first.fuel_used <= fuel
    assert first.outcome in (Outcome.COMPLETED, Outcome.OUT_OF_FUEL, Outcome.INVALID_PROGRAM)


def test_fuel_of_main_does_not_count_the_top_level(machine: Machine) -> None:
    main = "function main() { return 'x' }"
    heavy = "const t = []; for (let i = 0; i < 20000; i++) t.push(i * i);" + main
    difference = machine.js(heavy).fuel_used - machine.js(main).fuel_used
    assert abs(difference) < 20_000  # another heap, not another million of instructions


def test_fuel_is_what_an_empty_program_costs(machine: Machine) -> None:
    assert machine.wasm('(module (func (export "run")))').fuel_used == 1
    assert machine.js("function main() {}").fuel_used < 300_000


def test_order_of_engines_does_not_matter(machine: Machine) -> None:
    machine.forget()
    first = machine.wasm(WASM), machine.js(PROGRAM)
    machine.forget()
    second = machine.js(PROGRAM), machine.wasm(WASM)
    assert first == second[::-1]
    assert machine.order(b"", engine=Engine.JS).engine is Engine.JS
