"""The world of a WebAssembly program is what docs/PROGRAMS.md says."""

from __future__ import annotations

import struct

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.crypto.hashing import keccak256
from oracle.enclave.guest_api import FACTS
from oracle.enclave.job import RANDOM_DOMAIN, Job, RandomStream
from oracle.types.program import Engine, Limits
from oracle.types.receipt import Outcome
from tests.unit.enclave.machine import CREATED_AT_S, Machine

BLOB = frozenset({"blob"})
IMPORTS = """
  (import "adyton" "input_size" (func $input_size (result i32)))
  (import "adyton" "input_read" (func $input_read (param i32 i32 i32) (result i32)))
  (import "adyton" "output" (func $output (param i32 i32)))
  (import "adyton" "log" (func $log (param i32 i32)))
  (import "adyton" "fact" (func $fact (param i32 i32) (result i32)))
  (import "adyton" "blob_size" (func $blob_size (param i32) (result i64)))
  (import "adyton" "blob_read" (func $blob_read (param i32 i32 i32 i32) (result i32)))
  (import "adyton" "keccak256" (func $keccak256 (param i32 i32 i32)))
  (import "adyton" "fail" (func $fail (param i32 i32)))
  (import "env" "abort" (func $abort (param i32 i32 i32 i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
"""


def module(body: str, more: str = "", entry: str = "run") -> str:
    """A module that imports everything, has 64 KiB of memory, and whose entry is `body`."""
    return f'(module {IMPORTS} (memory (export "memory") 1 16) {more} (func (export "{entry}") {body}))'


def test_input_and_output_are_copied_in_parts(machine: Machine) -> None:
    echo = """(local $at i32)
      (loop $next
        (call $output (i32.const 100) (call $input_read (i32.const 100) (local.get $at) (i32.const 3)))
        (local.set $at (i32.add (local.get $at) (i32.const 3)))
        (br_if $next (i32.lt_u (local.get $at) (call $input_size))))"""
    assert machine.wasm(module(echo), b"in three parts").output == b"in three parts"


def test_output_nothing_written_is_empty(machine: Machine) -> None:
    result = machine.wasm('(module (func (export "run")))', b"ignored")
    assert (result.outcome, result.output) == (Outcome.COMPLETED, b"")


@pytest.mark.parametrize("number", range(len(FACTS)))
def test_fact_each_number_is_the_requests(machine: Machine, number: int) -> None:
    text = module(f"(call $output (i32.const 0) (call $fact (i32.const {number}) (i32.const 0)))")
    order = machine.order(bytes(wasmtime.wat2wasm(text)), engine=Engine.WASM)
    expected = FACTS[number](Job(Limits(), BLOB, order.request, order.request.request_id), order.request)
    assert machine.execute(order).output == expected
    assert len(expected) == (32 if number in (0, 1, 4, 5, 6) else 20 if number in (2, 3) else 8)


def test_fact_unknown_number_is_minus_one(machine: Machine) -> None:
    store = (
        "(i32.store (i32.const 0) (call $fact (i32.const 99) (i32.const 8))) (call $output (i32.const 0) (i32.const 4))"
    )
    assert machine.wasm(module(store)).output == b"\xff\xff\xff\xff"


def test_blob_size_and_part_are_read(machine: Machine) -> None:
    body = """(drop (call $input_read (i32.const 0) (i32.const 0) (i32.const 32)))
      (i64.store (i32.const 40) (call $blob_size (i32.const 0)))
      (call $output (i32.const 40) (i32.const 8))
      (call $output (i32.const 64) (call $blob_read (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 1000)))"""
    result = machine.wasm(module(body), machine.publish(b"the record"), capabilities=BLOB)
    assert result.output == struct.pack("<Q", 10) + b"record"


def test_blob_without_capability_is_denied(machine: Machine) -> None:
    result = machine.wasm(module("(drop (call $blob_size (i32.const 0)))"))
    assert result.outcome is Outcome.DENIED


def test_keccak256_is_the_hosts(machine: Machine) -> None:
    body = """(drop (call $input_read (i32.const 0) (i32.const 0) (i32.const 99)))
      (call $keccak256 (i32.const 0) (call $input_size) (i32.const 0))
      (call $output (i32.const 0) (i32.const 32))"""
    assert machine.wasm(module(body), b"abc").output == keccak256(b"abc")


def test_log_and_stderr_are_logs(machine: Machine) -> None:
    data = '(data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00stderr\\n")'
    body = """(call $log (i32.const 8) (i32.const 3))
      (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 40)))"""
    result = machine.wasm(module(body, data))
    assert result.logs == ("std", "stderr")
    assert result.output == b""


def test_fail_ends_the_job_with_the_reason(machine: Machine) -> None:
    text = module("(call $fail (i32.const 0) (i32.const 4)) (unreachable)", '(data (i32.const 0) "nope")')
    result = machine.wasm(text)
    assert (result.outcome, result.output) == (Outcome.TRAPPED, b"nope")


def test_abort_of_assemblyscript_ends_the_job_with_message_and_place(machine: Machine) -> None:
    data = '(data (i32.const 4) "\\04\\00\\00\\00h\\00i\\00") (data (i32.const 20) "\\04\\00\\00\\00a\\00b\\00")'
    result = machine.wasm(module("(call $abort (i32.const 8) (i32.const 24) (i32.const 3) (i32.const 5))", data))
    assert (result.outcome, result.output) == (Outcome.TRAPPED, b"abort: hi (ab:3:5)")
    result = machine.wasm(module("(call $abort (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"))
    assert (result.outcome, result.output) == (Outcome.TRAPPED, b"abort: ")


def test_wasi_stdin_and_stdout_are_input_and_output(machine: Machine) -> None:
    body = """(i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 4))
      (loop $next
        (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 16) (i32.const 100)) (i32.store (i32.const 20) (i32.load (i32.const 8)))
        (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
        (br_if $next (i32.load (i32.const 8))))"""
    assert machine.wasm(module(body, entry="_start"), b"through WASI").output == b"through WASI"


@pytest.mark.parametrize(("code", "outcome"), [(0, Outcome.COMPLETED), (3, Outcome.TRAPPED)])
def test_wasi_proc_exit_zero_completes_others_trap(machine: Machine, code: int, outcome: Outcome) -> None:
    data = '(data (i32.const 0) "done")'
    body = f"(call $output (i32.const 0) (i32.const 4)) (call $exit (i32.const {code})) (unreachable)"
    result = machine.wasm(module(body, data, "_start"))
    assert (result.outcome, result.output) == (outcome, b"done" if code == 0 else b"exit code 3")


def test_wasi_clock_is_the_time_of_the_request(machine: Machine) -> None:
    body = """(drop (call $clock (i32.const 0) (i64.const 1) (i32.const 0)))
      (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 8))) (call $output (i32.const 0) (i32.const 16))"""
    assert machine.wasm(module(body)).output == struct.pack("<QQ", *[CREATED_AT_S * 10**9] * 2)


def test_wasi_random_is_the_documented_stream_of_the_request(machine: Machine) -> None:
    body = """(drop (call $random (i32.const 0) (i32.const 5))) (drop (call $random (i32.const 5) (i32.const 60)))
      (call $output (i32.const 0) (i32.const 65))"""
    order = machine.order(bytes(wasmtime.wat2wasm(module(body))), engine=Engine.WASM)
    seed = keccak256(RANDOM_DOMAIN + order.request.request_id)
    stream = b"".join(keccak256(seed + struct.pack("<Q", block)) for block in range(3))
    assert machine.execute(order).output == stream[:65]


@given(st.lists(st.integers(0, 100), max_size=10))
def test_random_stream_in_any_parts_is_the_same_stream(sizes: list[int]) -> None:
    parts, whole = RandomStream(bytes(32)), RandomStream(bytes(32))
    assert b"".join(parts.take(size) for size in sizes) == whole.take(sum(sizes))


def test_wasi_files_and_environment_do_not_exist(machine: Machine) -> None:
    body = """(i32.store8 (i32.const 200) (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
        (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 8)))
      (drop (call $environ_sizes (i32.const 204) (i32.const 208)))
      (drop (call $args_sizes (i32.const 212) (i32.const 216)))
      (call $output (i32.const 200) (i32.const 20))"""
    assert machine.wasm(module(body)).output == struct.pack("<BxxxIIII", 8, 0, 0, 1, 8)


def test_initialize_and_start_run_before_the_entry_and_are_metered(machine: Machine) -> None:
    text = module(
        "(i32.store8 (i32.const 2) (i32.const 51)) (call $output (i32.const 0) (i32.const 3))",
        """(func $first (i32.store8 (i32.const 0) (i32.const 49))) (start $first)
           (func (export "_initialize") (i32.store8 (i32.const 1) (i32.const 50)))""",
    )
    result = machine.wasm(text)
    assert result.output == b"123"
    without = machine.wasm(text.replace("(start $first)", ""))
    assert result.fuel_used > without.fuel_used


def test_run_is_preferred_to_start_function_of_commands(machine: Machine) -> None:
    text = '(module (func (export "_start") unreachable) (func (export "run")))'
    assert machine.wasm(text).outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('(module (import "adyton" "nope" (func)) (func (export "run")))', "imports adyton.nope"),
        ('(module (import "env" "host_call" (func)) (func (export "run")))', "imports env.host_call"),
        ('(module (import "env" "memory" (memory 1)) (func (export "run")))', "imports env.memory"),
        ('(module (import "adyton" "output" (func)) (func (export "run")))', "another type"),
        ('(module (import "adyton" "output" (global i32)) (func (export "run")))', "another type"),
        ('(module (func (export "main")))', "exports neither"),
        ('(module (memory (export "run") 1))', "exports neither"),
        ('(module (func (export "run") (param i32)))', "must not"),
        ('(module (func (export "run") (result i32) i32.const 0))', "must not"),
        ('(module (func (export "run")) (func (export "_initialize") (param i64)))', "must not"),
        ('(module (memory 65536) (func (export "run")))', "starts with 4294967296 bytes"),
        ('(module (memory 1025) (func (export "run")))', "starts with 67174400 bytes"),
        ('(module (table 4000000000 funcref) (func (export "run")))', "table"),
        (b"", "not valid"),
        (b"\0asm\1\0\0\0\xff", "not valid"),
        (b"function main() {}", "not valid"),
        ('(module (memory 1 1 shared) (func (export "run")))', "not valid"),
        ('(module (memory i64 1) (func (export "run")))', "not valid"),
        ('(module (memory 1) (memory 1) (func (export "run")))', "not valid"),
    ],
)
def test_module_that_cannot_run_is_invalid_program_with_the_reason(
    machine: Machine, text: str | bytes, reason: str
) -> None:
    result = machine.wasm(text)
    assert result.outcome is Outcome.INVALID_PROGRAM
    assert reason in result.output.decode()
    assert result.fuel_used == 0


@settings(max_examples=40, deadline=None)
@given(junk=st.binary(max_size=200))
def test_module_of_any_bytes_is_invalid_program(shared_machine: Machine, junk: bytes) -> None:
    assert shared_machine.wasm(b"\0asm\1\0\0\0" + junk).outcome is Outcome.INVALID_PROGRAM


def test_module_over_the_size_cap_is_invalid_program(machine: Machine) -> None:
    result = machine.wasm(bytes((4 << 20) + 1))
    assert (result.outcome, result.output) == (Outcome.INVALID_PROGRAM, b"the module is larger than 4194304 bytes")


def test_data_segment_outside_memory_traps(machine: Machine) -> None:
    text = '(module (memory 1) (data (i32.const 65535) "too long") (func (export "run")))'
    assert machine.wasm(text).outcome is Outcome.TRAPPED


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("(unreachable)", "unreachable"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "division by zero"),
        ("(drop (i32.load (i32.const 70000)))", "out of bounds"),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "float"),
        ("(call_indirect (i32.const 0))", "indirect call"),
    ],
)
def test_trap_each_kind_is_trapped_with_a_reason(machine: Machine, body: str, reason: str) -> None:
    result = machine.wasm(module(body, "(table 1 funcref)"))
    assert result.outcome is Outcome.TRAPPED
    assert reason in result.output.decode()
    assert machine.wasm(module(body, "(table 1 funcref)")) == result


def test_nan_bits_are_canonical(machine: Machine) -> None:
    body = """(f64.store (i32.const 0) (f64.div (f64.const 0) (f64.const 0)))
      (f32.store (i32.const 8) (f32.div (f32.const 0) (f32.const -0))) (call $output (i32.const 0) (i32.const 12))"""
    assert machine.wasm(module(body)).output == bytes.fromhex("000000000000f87f0000c07f")


def test_memory_grow_over_the_limit_fails_in_the_program(machine: Machine) -> None:
    body = """(i32.store (i32.const 0) (memory.grow (i32.const 2)))
      (i32.store (i32.const 4) (memory.grow (i32.const 9)))
      (call $output (i32.const 0) (i32.const 8))"""
    result = machine.wasm(module(body), limits=Limits(memory_bytes=4 * 65536))
    assert result.output == struct.pack("<ii", 1, -1)
