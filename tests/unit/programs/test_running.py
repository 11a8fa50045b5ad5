"""Local runs give what an enclave gives, and say truly what was used."""

from __future__ import annotations

import pytest
import wasmtime

from oracle.crypto.hashing import keccak256
from oracle.enclave.job import HOST_CALL_FUEL
from oracle.errors import ProjectError
from oracle.programs.limits import nearest, over_ceiling, usage
from oracle.programs.observing import MAX_CALLS
from oracle.programs.running import FREE_POOL, Facts, Workbench
from oracle.types.program import Engine, Limits, Manifest
from oracle.types.receipt import Outcome
from tests.unit.enclave.conftest import shared_machine  # noqa: F401  # the enclave's own executor, unwatched

JS = b"""async function main(input, request) {
  await null;
  adyton.log('hello', request.nonce);
  return adyton.keccak256(new TextEncoder().encode(new TextDecoder().decode(input) + Math.random() + Date.now()));
}"""
WASM = bytes(
    wasmtime.wat2wasm("""(module
  (import "adyton" "input_size" (func $input_size (result i32)))
  (import "adyton" "input_read" (func $input_read (param i32 i32 i32) (result i32)))
  (import "adyton" "keccak256" (func $keccak256 (param i32 i32 i32)))
  (import "adyton" "output" (func $output (param i32 i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "run")
    (drop (call $input_read (i32.const 64) (i32.const 0) (call $input_size)))
    (drop (call $random (i32.const 32) (i32.const 8)))
    (drop (memory.grow (i32.const 2)))
    (call $keccak256 (i32.const 32) (i32.const 100) (i32.const 0))
    (call $output (i32.const 0) (i32.const 32))))""")
)
LOOP = b"function main() { for (;;); }"


def manifest(engine=Engine.JS, **limits):
    return Manifest(engine, Limits(**limits), frozenset({"blob"})).encode()


@pytest.mark.parametrize(
    ("engine", "code", "limits"),
    [
        (Engine.JS, JS, {}),
        (Engine.WASM, WASM, {}),
        (Engine.JS, LOOP, {"fuel": 10_000_000}),
        (Engine.JS, b"function main() { throw new Error('x') }", {}),
        (Engine.JS, b"function main( {", {}),
        (
            Engine.JS,
            b"function main() { const a = []; for (;;) a.push(new Uint8Array(1e5)) }",
            {"memory_bytes": 6 << 20},
        ),
        (Engine.JS, JS, {"input_bytes": 2}),
        (Engine.JS, JS, {"output_bytes": 31}),
        (Engine.JS, JS, {"fuel": 10**15}),
        (Engine.WASM, WASM, {"fuel": 20_000}),
        (Engine.WASM, b"\0asm", {}),
    ],
)
def test_run_is_what_the_enclaves_executor_says(bench, shared_machine, engine, code, limits):  # noqa: F811
    facts = Facts(1_700_000_000, 7)
    given = bench.run(manifest(engine, **limits), code, b"abc", facts=facts)
    order = shared_machine.order(
        code, b"abc", engine=engine, limits=Limits(**limits), capabilities=frozenset({"blob"}), pool=FREE_POOL,
        callback_gas=0, max_fee_gwei=0,
    )  # fmt: skip
    expected = shared_machine.execute(order)
    assert (given.outcome, given.output, given.fuel_used, given.logs) == (
        expected.outcome, expected.output, expected.fuel_used, expected.logs,
    )  # fmt: skip


@pytest.mark.parametrize("limits", [{}, {"input_bytes": 1}, {"fuel": 10**15}])
def test_require_valid_program_that_can_run_is_let_through(bench, limits):
    bench.require_valid(manifest(**limits), JS)
    bench.require_valid(manifest(Engine.WASM, **limits), WASM)


@pytest.mark.parametrize(
    ("engine", "code", "said"),
    [
        (Engine.JS, b"function main( {", "SyntaxError"),
        (Engine.JS, b"let x", "defines no function main"),
        (Engine.JS, b"throw new Error('top'); function main() {}", "top"),
        (Engine.WASM, b"\0asm", "not valid WebAssembly"),
    ],
)
def test_require_valid_program_that_enclaves_would_refuse_is_refused(bench, engine, code, said):
    with pytest.raises(ProjectError, match=f"enclaves would refuse this program: .*{said}"):
        bench.require_valid(manifest(engine), code)


def test_run_over_its_time_is_stopped(bench):
    run = bench.run(manifest(wall_time_ms=60, fuel=20_000_000_000), LOOP, b"")
    assert (run.outcome, run.fuel_used) == (Outcome.TIMED_OUT, 0)


def test_run_in_two_workbenches_is_the_same(bench):
    with Workbench() as other:
        first, second = (where.run(manifest(), JS, b"x") for where in (bench, other))
    assert (first.output, first.fuel_used, first.trace) == (second.output, second.fuel_used, second.trace)


def test_trace_webassembly_names_calls_in_order_with_sizes_and_fuel(bench):
    trace = bench.run(manifest(Engine.WASM), WASM, b"abc").trace
    assert [(call.name, call.bytes_read, call.bytes_written) for call in trace.calls] == [
        ("input_size", 0, 0),
        ("input_read", 0, 3),
        ("wasi_snapshot_preview1.random_get", 8, 8),
        ("keccak256", 100, 32),
        ("output", 32, 0),
    ]
    assert trace.calls[0].fuel == HOST_CALL_FUEL
    assert trace.calls[3].fuel == HOST_CALL_FUEL + 17 * 100
    assert trace.peak_memory_bytes == 3 * 65_536


def test_trace_javascript_counts_what_the_prelude_asks(bench):
    run = bench.run(manifest(), JS, b"abc")
    assert run.trace.counts == {"log": 1, "keccak256": 1, "finish": 1}
    assert run.logs == ("hello 0",)
    assert run.trace.peak_memory_bytes > 1 << 20


def test_trace_of_very_many_calls_stays_bounded(bench):
    source = f"function main() {{ for (let i = 0; i < {MAX_CALLS + 5}; i++) adyton.log(i) }}".encode()
    trace = bench.run(manifest(), source, b"").trace
    assert (len(trace.calls), trace.counts["log"]) == (MAX_CALLS, MAX_CALLS + 5)


def test_run_reads_blobs_given_with_it(bench):
    source = b"function main(input) { return String(adyton.blob(input).length) }"
    assert bench.run(manifest(), source, keccak256(b"four"), blobs=(b"four",)).output == b"4"


def test_usage_names_each_limit_and_the_nearest(bench):
    allowed = Manifest(Engine.JS, Limits(fuel=1_000_000, output_bytes=64))
    run = bench.run(allowed.encode(), b"function main() { return 'x'.repeat(48) }", b"")
    shares = {item.name: item.share for item in usage(run, allowed)}
    assert shares["output_bytes"] == 0.75
    assert nearest(usage(run, allowed)).name == "output_bytes"
    assert shares["fuel"] == run.fuel_used / 1_000_000


def test_over_ceiling_says_what_pools_would_deny(bench):
    limits = Limits(fuel=10**12)
    assert over_ceiling(Limits()) is None
    assert "limits.fuel is 1000000000000" in over_ceiling(limits)
    assert bench.run(Manifest(Engine.JS, limits).encode(), JS, b"").outcome is Outcome.DENIED
