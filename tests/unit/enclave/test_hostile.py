"""Whatever a program does ends within its limits, as a receipt's outcome, and leaves the next job unharmed."""

from __future__ import annotations

import time

import pytest

from oracle.types.program import Limits
from oracle.types.receipt import Outcome
from tests.unit.enclave.machine import Machine
from tests.unit.enclave.test_webassembly import module

LIMITS = Limits(fuel=2_000_000_000, memory_bytes=16 << 20, wall_time_ms=8_000, output_bytes=1_024, log_bytes=256)
MAX_S = 20.0  # the wall-time limit, and as much again for a busy test machine
GOOD_JS = """let seen = []; function main(input) {
  seen.push(...input); return `${seen} ${Object.keys({})} ${[1, 2].map((x) => x)} ${typeof {}.polluted}` }"""
GOOD_WASM = module("(call $output (i32.const 0) (call $input_read (i32.const 0) (i32.const 0) (i32.const 64)))")

JAVASCRIPT = {
    "infinite loop": ("while (true);", Outcome.OUT_OF_FUEL),
    "infinite promises": ("return new Promise(() => { (function f() { queueMicrotask(f) })() })", Outcome.OUT_OF_FUEL),
    "never settling promise": ("return new Promise(() => {})", Outcome.TRAPPED),
    "array bomb": ("const all = []; for (;;) all.push(new Uint8Array(1 << 20))", Outcome.OUT_OF_MEMORY),
    "object bomb": ("const all = []; for (;;) all.push({})", Outcome.OUT_OF_MEMORY),
    "closure bomb": ("let f = () => 0; for (;;) { const g = f; f = () => g }", Outcome.OUT_OF_MEMORY),
    "string bomb": ("let s = 'x'; for (;;) s += s", Outcome.TRAPPED),
    "bigint bomb": ("let n = 3n; for (;;) n *= n", None),
    "async memory bomb": ("return (async () => { const a = []; for (;;) { a.push({}); } })()", Outcome.OUT_OF_MEMORY),
    "deep recursion": ("return (function f() { return 1 + f() })()", Outcome.TRAPPED),
    "deep recursion caught": ("const f = () => { try { f() } catch { f() } }; f()", None),
    "recursion in native code": ("const a = []; a.toString = () => a.join(); a.push(a); return `${a}`", None),
    "nested JSON": ("return JSON.parse('['.repeat(1e6))", Outcome.TRAPPED),
    "nested array to JSON": ("let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return JSON.stringify(a)", None),
    "nested source": ("return eval('('.repeat(1e5))", Outcome.TRAPPED),
    "nested regexp": ("return new RegExp('('.repeat(1e5) + ')'.repeat(1e5)).test('')", Outcome.TRAPPED),
    "catastrophic regexp": ("return /^(a+)+$/.test('a'.repeat(40) + 'b')", Outcome.OUT_OF_FUEL),
    "output too large": ("return new Uint8Array(1025)", Outcome.OUTPUT_TOO_LARGE),
    "log flood": ("for (;;) console.log('flood'.repeat(1000))", Outcome.OUT_OF_FUEL),
    "hash flood": ("const b = new Uint8Array(1 << 20); for (;;) adyton.keccak256(b)", Outcome.OUT_OF_FUEL),
    "throws an object": ("throw { toString() { while (true); } }", Outcome.OUT_OF_FUEL),
    "throws while described": ("const e = new Error(); e.toString = 1; e.name = Symbol(); throw e", Outcome.TRAPPED),
    "getter on output": ("return new Proxy(new Uint8Array(4), { get() { throw 1 } })", Outcome.TRAPPED),
    "pollutes prototypes": ("Object.prototype.polluted = 1; Array.prototype.map = () => 5", Outcome.COMPLETED),
    "breaks the globals": ("const g = globalThis; for (const k of Reflect.ownKeys(g)) delete g[k]", Outcome.COMPLETED),
    "breaks promises": (
        "Promise.prototype.then = () => { throw 1 }; return input",
        Outcome.COMPLETED,
    ),
    "poisons thenables": ("Object.prototype.then = (done) => { done('x'); done('y') }; return {}", Outcome.COMPLETED),
    "poisons iteration": ("Array.prototype[Symbol.iterator] = function* () { for (;;) yield 1 }; return input", None),
    "sort that lies": ("return String([3, 2, 1].sort(() => { throw new RangeError('x') }))", Outcome.TRAPPED),
    "resizes while hashed": (
        "const b = new ArrayBuffer(8, { maxByteLength: 16 }); b.resize(0); return adyton.keccak256(new Uint8Array(b))",
        Outcome.COMPLETED,
    ),
    "fake bytes": ("return { __proto__: Uint8Array.prototype, length: 1e9 }", Outcome.TRAPPED),
}

WEBASSEMBLY = {
    "infinite loop": ("(loop $l (br $l))", Outcome.OUT_OF_FUEL),
    "infinite recursion": ("(call $again)", Outcome.KILLED),
    "memory.grow loop": ("(loop $l (drop (memory.grow (i32.const 1))) (br $l))", None),
    "memory.fill flood": (
        "(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $l))",
        Outcome.OUT_OF_FUEL,
    ),
    "output flood": ("(loop $l (call $output (i32.const 0) (i32.const 512)) (br $l))", Outcome.OUTPUT_TOO_LARGE),
    "stdout flood": (
        """(i32.store (i32.const 4) (i32.const 512))
        (loop $l (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))""",
        Outcome.OUTPUT_TOO_LARGE,
    ),
    "log flood": ("(loop $l (call $log (i32.const 0) (i32.const 65536)) (br $l))", Outcome.OUT_OF_FUEL),
    "hash flood": (
        "(loop $l (call $keccak256 (i32.const 0) (i32.const 65536) (i32.const 0)) (br $l))",
        Outcome.OUT_OF_FUEL,
    ),
    "random flood": ("(loop $l (drop (call $random (i32.const 0) (i32.const 65536))) (br $l))", Outcome.OUT_OF_FUEL),
    "empty host calls": ("(loop $l (drop (call $input_size)) (br $l))", Outcome.OUT_OF_FUEL),
    "scatter flood": (
        "(loop $l (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 0))) (br $l))",
        Outcome.OUT_OF_FUEL,
    ),
}

BAD = "(i32.const -8)"
POINTERS = {
    "input_read": f"(drop (call $input_read {BAD} (i32.const 0) (i32.const 64)))",
    "output": f"(call $output {BAD} (i32.const 64))",
    "output wraps": "(call $output (i32.const 8) (i32.const -1))",
    "log": f"(call $log {BAD} (i32.const 64))",
    "fact": f"(drop (call $fact (i32.const 0) {BAD}))",
    "blob_size": f"(drop (call $blob_size {BAD}))",
    "blob_read hash": f"(drop (call $blob_read {BAD} (i32.const 0) (i32.const 0) (i32.const 9)))",
    "keccak256 source": f"(call $keccak256 {BAD} (i32.const 64) (i32.const 0))",
    "keccak256 target": f"(call $keccak256 (i32.const 0) (i32.const 64) {BAD})",
    "fail": f"(call $fail {BAD} (i32.const 64))",
    "abort": f"(call $abort {BAD} (i32.const 0) (i32.const 0) (i32.const 0))",
    "abort before memory": "(call $abort (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))",
    "fd_read vectors": f"(drop (call $fd_read (i32.const 0) {BAD} (i32.const 9) (i32.const 0)))",
    "fd_read count": f"(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) {BAD}))",
    "fd_write vectors": f"(drop (call $fd_write (i32.const 1) {BAD} (i32.const 9) (i32.const 0)))",
    "fd_write count": f"(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) {BAD}))",
    "clock_time_get": f"(drop (call $clock (i32.const 0) (i64.const 0) {BAD}))",
    "random_get": f"(drop (call $random {BAD} (i32.const 64)))",
    "args_sizes_get": f"(drop (call $args_sizes {BAD} (i32.const 0)))",
    "environ_sizes_get": f"(drop (call $environ_sizes (i32.const 0) {BAD}))",
}


@pytest.fixture(autouse=True)
def _neighbours_are_unharmed(machine: Machine):  # type: ignore[no-untyped-def]  # a generator of nothing
    before = machine.js(GOOD_JS, b"\1\2"), machine.wasm(GOOD_WASM, b"good")
    assert [result.outcome for result in before] == [Outcome.COMPLETED] * 2
    yield
    assert (machine.js(GOOD_JS, b"\1\2"), machine.wasm(GOOD_WASM, b"good")) == before


@pytest.mark.parametrize("name", JAVASCRIPT)
def test_javascript_hostile_program_ends_in_its_outcome(machine: Machine, name: str) -> None:
    body, outcome = JAVASCRIPT[name]
    began = time.monotonic()
    result = machine.js(f"function main(input) {{ {body} }}", b"in", limits=LIMITS)
    assert time.monotonic() - began < MAX_S
    assert result.outcome is outcome if outcome else result.outcome in Outcome
    assert result.fuel_used <= LIMITS.fuel
    assert len(result.output) <= LIMITS.output_bytes
    assert sum(len(line) for line in result.logs) <= LIMITS.log_bytes
    if result.outcome.is_deterministic:
        assert machine.js(f"function main(input) {{ {body} }}", b"in", limits=LIMITS) == result


@pytest.mark.parametrize("name", WEBASSEMBLY)
def test_webassembly_hostile_program_ends_in_its_outcome(machine: Machine, name: str) -> None:
    body, outcome = WEBASSEMBLY[name]
    began = time.monotonic()
    result = machine.wasm(module(body, "(func $again (call $again))"), b"in", limits=LIMITS)
    assert time.monotonic() - began < MAX_S
    assert result.outcome is outcome if outcome else result.outcome in (Outcome.OUT_OF_FUEL, Outcome.TIMED_OUT)
    assert result.fuel_used <= LIMITS.fuel
    if not result.outcome.is_deterministic:
        assert result.fuel_used == 0


@pytest.mark.parametrize("name", POINTERS)
def test_webassembly_pointer_outside_memory_traps(machine: Machine, name: str) -> None:
    text = module(POINTERS[name])
    result = machine.wasm(text, b"in", capabilities=frozenset({"blob"}))
    assert result.outcome is Outcome.TRAPPED
    assert b"outside memory" in result.output


def test_webassembly_start_function_that_loops_runs_out_of_fuel(machine: Machine) -> None:
    text = '(module (func $s (loop $l (br $l))) (start $s) (func (export "run")))'
    result = machine.wasm(text, limits=LIMITS)
    assert (result.outcome, result.fuel_used) == (Outcome.OUT_OF_FUEL, LIMITS.fuel)


@pytest.mark.parametrize("engine", ["js", "wasm"])
def test_wall_clock_limit_passed_is_timed_out_without_fuel(machine: Machine, engine: str) -> None:
    limits = Limits(fuel=20_000_000_000, wall_time_ms=100)
    began = time.monotonic()
    if engine == "js":
        result = machine.js("function main() { while (true); }", limits=limits)
    else:
        result = machine.wasm(module("(loop $l (br $l))"), limits=limits)
    assert (result.outcome, result.fuel_used) == (Outcome.TIMED_OUT, 0)
    assert time.monotonic() - began < MAX_S


def test_module_that_is_slow_to_compile_is_compiled_or_killed_but_bounded(machine: Machine) -> None:
    body = "(local.set 0 (i32.mul (local.get 0) (i32.add (local.get 0) (i32.const 3))))" * 20_000
    began = time.monotonic()
    result = machine.wasm(f'(module (func (export "run") (local i32) {body}))')
    assert result.outcome in (Outcome.COMPLETED, Outcome.KILLED)
    assert time.monotonic() - began < 50
