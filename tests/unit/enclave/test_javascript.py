"""The world of a JavaScript program is what docs/PROGRAMS.md says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.crypto.hashing import keccak256
from oracle.types.program import Limits
from oracle.types.receipt import Outcome
from tests.unit.enclave.machine import CONSUMER, COPROCESSOR, CREATED_AT_S, Machine

BLOB = frozenset({"blob"})


def value(machine: Machine, expression: str, data: bytes = b"", **options: object) -> object:
    """What a JavaScript expression over `input` and `request` is, through JSON."""
    result = machine.js(f"function main(input, request) {{ return JSON.stringify({expression}) }}", data, **options)
    assert result.outcome is Outcome.COMPLETED, result.output
    return json.loads(result.output)


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ("return input", b"abc"),
        ("return input.buffer", b"abc"),
        ("return input.subarray(1)", b"bc"),
        ("return new DataView(input.buffer, 1, 1)", b"b"),
        ("return 'text \\u20ac'", "text €".encode()),
        ("return ''", b""),
        ("return undefined", b""),
        ("", b""),
        ("return Promise.resolve(input)", b"abc"),
        ("return { then(done) { done('thenable') } }", b"thenable"),
    ],
)
def test_main_each_kind_of_return_value_becomes_the_output(machine: Machine, body: str, output: bytes) -> None:
    result = machine.js(f"function main(input) {{ {body} }}", b"abc")
    assert (result.outcome, result.output) == (Outcome.COMPLETED, output)


@pytest.mark.parametrize(
    "program",
    [
        "async function main(input) { await null; return input }",
        "const main = (input) => input",
        "let main; main = function (input) { return input }",
        "globalThis.main = (input) => new Promise((done) => queueMicrotask(() => done(input)))",
        "'use strict'; function main(input) { return input }",
    ],
)
def test_main_each_way_to_define_it_is_found(machine: Machine, program: str) -> None:
    assert machine.js(program, b"in").output == b"in"


@pytest.mark.parametrize("kind", ["5", "true", "{}", "null", "[]", "Symbol()", "5n"])
def test_main_unusable_return_value_traps(machine: Machine, kind: str) -> None:
    result = machine.js(f"function main() {{ return {kind} }}")
    assert result.outcome is Outcome.TRAPPED
    assert result.output.startswith(b"main returned")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("function main( {", "SyntaxError"),
        ("import fs from 'fs'; function main() {}", "SyntaxError"),
        ("throw new TypeError('at the top')", "TypeError: at the top"),
        ("throw null", "null"),
        ("let x = 1", "the program defines no function main"),
        ("const main = 5", "the program defines no function main"),
        ("function main() {} adyton.request", "adyton.request is for main alone"),
        ("function main() {} adyton.blob(new Uint8Array(32))", "adyton.blob is for main alone"),
        ("function main() {} while (true);", "out of fuel"),
        ("function main() {} (function f() { f() })()", "Maximum call stack size exceeded"),
    ],
)
def test_top_level_broken_is_invalid_program_with_the_reason(machine: Machine, program: str, reason: str) -> None:
    result = machine.js(program, limits=Limits(fuel=50_000_000))
    assert result.outcome is Outcome.INVALID_PROGRAM
    assert reason in result.output.decode()
    assert result.fuel_used == 0


def test_top_level_not_utf8_is_invalid_program(machine: Machine) -> None:
    result = machine.execute(machine.order(b"function main() {} // \xff"))
    assert (result.outcome, result.output) == (Outcome.INVALID_PROGRAM, b"the source is not UTF-8")


def test_top_level_state_is_the_same_for_every_job(machine: Machine) -> None:
    program = "let calls = 0; const table = [1, 2, 3]; function main() { table.push(4); return `${++calls} ${table}` }"
    assert [machine.js(program, nonce=nonce).output for nonce in (1, 2, 3)] == [b"1 1,2,3,4"] * 3


def test_top_level_promises_settle_before_main(machine: Machine) -> None:
    program = "let seen; Promise.resolve(7).then((x) => { seen = x }); function main() { return String(seen) }"
    assert machine.js(program).output == b"7"


def test_request_facts_are_those_of_the_request(machine: Machine) -> None:
    facts = value(machine, "({...request, chainId: `${request.chainId}`, nonce: typeof request.nonce})")
    assert isinstance(facts, dict)
    assert facts["chainId"] == "31337"
    assert facts["nonce"] == "bigint"
    assert facts["consumer"] == "0x" + CONSUMER.hex()
    assert facts["coprocessor"] == "0x" + COPROCESSOR.hex()
    assert facts["createdAt"] == CREATED_AT_S
    assert facts["deadline"] == CREATED_AT_S + 600
    assert facts["callbackGas"] == 100_000
    assert facts["maxFeeGwei"] == 10**6
    assert {"id", "programId", "poolId", "inputHash"} <= facts.keys()
    assert "seed" not in facts
    assert value(machine, "request === adyton.request && Object.isFrozen(request)") is True


def test_blob_named_by_hash_is_read(machine: Machine) -> None:
    name = machine.publish(b"the record")
    for argument in ("input", "hex.encode(input)"):
        result = machine.js(f"function main(input) {{ return adyton.blob({argument}) }}", name, capabilities=BLOB)
        assert (result.outcome, result.output) == (Outcome.COMPLETED, b"the record")


def test_blob_empty_is_read(machine: Machine) -> None:
    result = machine.js("function main(i) { return adyton.blob(i) }", machine.publish(b""), capabilities=BLOB)
    assert (result.outcome, result.output) == (Outcome.COMPLETED, b"")


def test_blob_without_capability_is_denied_even_if_caught(machine: Machine) -> None:
    program = "function main(i) { try { adyton.blob(i) } catch {} return 'went on' }"
    assert machine.js(program, bytes(32)).outcome is Outcome.DENIED


def test_blob_malformed_name_throws_in_the_program(machine: Machine) -> None:
    for name in ("'0x12'", "'zz'", "5", "new Uint8Array(31)", "undefined"):
        program = f"function main() {{ try {{ adyton.blob({name}) }} catch (e) {{ return e.name }} }}"
        assert machine.js(program, capabilities=BLOB).output == b"TypeError"


def test_blob_too_many_are_denied(machine: Machine) -> None:
    names = b"".join(machine.publish(bytes([n])) for n in range(65))
    program = "function main(i) { for (let n = 0; n < i.length; n += 32) adyton.blob(i.slice(n, n + 32)) }"
    assert machine.js(program, names[: 64 * 32], capabilities=BLOB).outcome is Outcome.COMPLETED
    assert machine.js(program, names, capabilities=BLOB).outcome is Outcome.DENIED


def test_log_lines_are_kept_up_to_the_cap(machine: Machine) -> None:
    program = """function main() {
      console.log('one', 2, 3n, { a: [1] }, new Uint8Array([255]), new Error('e'), null);
      adyton.log('x'.repeat(300)); console.error('dropped') }"""
    result = machine.js(program, limits=Limits(log_bytes=100))
    assert result.logs[0] == 'one 2 3 {"a":[1]} 0xff Error: e null'
    assert result.logs[1] == "x" * (100 - len(result.logs[0]))
    assert len(result.logs) == 2


def test_keccak256_any_bytes_is_the_hosts(machine: Machine) -> None:
    assert machine.js("function main(i) { return adyton.keccak256(i) }", b"abc").output == keccak256(b"abc")
    assert machine.js("function main() { return adyton.keccak256(new Uint8Array(0)) }").output == keccak256(b"")


def test_keccak256_of_no_bytes_type_throws(machine: Machine) -> None:
    program = "function main() { try { adyton.keccak256('text') } catch (e) { return e.message } }"
    assert machine.js(program).output == b"what keccak256 hashes must be a Uint8Array"


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=40))
def test_text_decoder_any_bytes_decodes_as_python_does(shared_machine: Machine, data: bytes) -> None:
    expected = data.decode("utf-8", "replace").removeprefix("\ufeff")
    result = shared_machine.js("function main(i) { return new TextDecoder().decode(i) }", data)
    assert result.output.decode() == expected


def test_text_decoder_fatal_refuses_what_is_not_utf8(machine: Machine) -> None:
    program = """function main(i) {
      try { return new TextDecoder('utf-8', { fatal: true }).decode(i) } catch (e) { return e.name } }"""
    assert machine.js(program, b"\xff").output == b"TypeError"
    assert machine.js(program, "ü".encode()).output == "ü".encode()


def test_text_encoder_lone_surrogate_becomes_replacement_character(machine: Machine) -> None:
    assert machine.js("function main() { return new TextEncoder().encode('a\\ud800b') }").output == b"a\xef\xbf\xbdb"


def test_hex_round_trips_and_refuses_what_is_not_hexadecimal(machine: Machine) -> None:
    assert machine.js("function main(i) { return hex.decode(hex.encode(i)) }", bytes(range(256))).output == bytes(
        range(256)
    )
    for text in ("'12'", "'0x1'", "'0xgg'", "5"):
        program = f"function main() {{ try {{ hex.decode({text}) }} catch (e) {{ return e.name }} }}"
        assert machine.js(program).output == b"TypeError"


def test_date_shows_the_time_of_the_request_and_never_moves(machine: Machine) -> None:
    expression = "[Date.now(), new Date().toISOString(), new Date().getTimezoneOffset()]"
    assert value(machine, expression) == [CREATED_AT_S * 1000, "2023-11-14T22:13:20.000Z", 0]
    assert (
        value(machine, "(() => { const t = Date.now(); for (let i = 0; i < 1e5; i++); return Date.now() - t })()") == 0
    )


def test_globals_that_would_be_nondeterministic_are_absent(machine: Machine) -> None:
    names = ["WeakRef", "FinalizationRegistry", "SharedArrayBuffer", "Atomics", "performance", "setTimeout"]
    assert value(machine, f"{names}.map((name) => typeof globalThis[name])") == ["undefined"] * len(names)


@pytest.mark.parametrize(
    ("thrown", "reason"),
    [
        ("new TypeError('no')", "TypeError: no (program.js:1:29)"),
        ("'text'", "threw text"),
        ("null", "threw null"),
        ("undefined", "threw undefined"),
        ("Symbol('s')", "threw Symbol(s)"),
        ("({ toString() { throw 1 } })", "threw a value that cannot be described"),
        ("Object.create(null)", "threw a value that cannot be described"),
        ("new Proxy(new Error('p'), { get() { throw 1 } })", "threw a value that cannot be described"),
    ],
)
@pytest.mark.parametrize("kind", ["function", "async function"])
def test_main_throwing_anything_traps_with_a_reason(machine: Machine, kind: str, thrown: str, reason: str) -> None:
    result = machine.js(f"{kind} main() {{ throw {thrown} }}")
    assert result.outcome is Outcome.TRAPPED
    assert result.output.decode() == reason.replace(":29)", ":35)" if kind.startswith("async") else ":29)")


def test_reason_long_message_is_cut_between_characters(machine: Machine) -> None:
    result = machine.js("function main() { throw new Error('€'.repeat(200)) }")
    assert len(result.output) <= 256
    assert result.output.decode().endswith("€")
