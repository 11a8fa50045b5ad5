"""The example programs, and those of docs/PROGRAMS.md as pasted, do what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.crypto.hashing import keccak256
from oracle.types.program import Limits, Manifest
from oracle.types.receipt import Outcome
from tests.unit.enclave.machine import CREATED_AT_S, Machine

ROOT = Path(__file__).parents[3]
PROGRAMS = ROOT / "examples" / "programs"
DOCUMENT = (ROOT / "docs" / "PROGRAMS.md").read_text()
BLOB = frozenset({"blob"})
INT256 = st.integers(-(2**255), 2**255 - 1)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(INT256, min_size=1, max_size=20))
def test_median_any_integers_gives_the_middle_one(shared_machine: Machine, values: list[int]) -> None:
    result = shared_machine.js((PROGRAMS / "median.js").read_text(), encode(["int256[]"], [values]))
    assert decode(["int256"], result.output) == (sorted(values)[len(values) // 2],)


def test_median_of_nothing_traps(machine: Machine) -> None:
    result = machine.js((PROGRAMS / "median.js").read_text(), encode(["int256[]"], [[]]))
    assert (result.outcome, result.output[:16]) == (Outcome.TRAPPED, b"Error: no values")


def test_lottery_draws_within_bounds_and_the_same_again(machine: Machine) -> None:
    source, data = (PROGRAMS / "lottery.js").read_text(), encode(["uint256"], [10])
    drawn = [machine.js(source, data, nonce=nonce) for nonce in range(30)]
    assert {decode(["uint256"], result.output)[0] for result in drawn} == set(range(10))
    assert machine.js(source, data, nonce=3) == drawn[3]
    assert drawn[0].logs[0].startswith("request 0x")


def test_lines_counts_the_blobs_lines(machine: Machine) -> None:
    name = machine.publish(b"one\ntwo\nthree\n")
    result = machine.js((PROGRAMS / "lines.js").read_text(), name, capabilities=BLOB)
    assert decode(["uint256"], result.output) == (3,)


def test_echo_and_digest_in_webassembly(machine: Machine) -> None:
    assert machine.wasm((PROGRAMS / "echo.wat").read_text(), b"in").output == b"in"
    digest = machine.wasm((PROGRAMS / "digest.wat").read_text(), b"in").output
    assert digest == keccak256(b"in" + CREATED_AT_S.to_bytes(8, "little"))


@pytest.mark.parametrize("source", re.findall(r"```js\n(.*?)```", DOCUMENT, re.DOTALL))
def test_document_javascript_works_as_pasted(machine: Machine, source: str) -> None:
    data = machine.publish(b"a\nb\n") if "blob" in source else encode(["int256[]"], [[3, 1, 2]])
    result = machine.js(source, data, capabilities=BLOB)
    assert result.outcome is Outcome.COMPLETED
    assert decode(["uint256"], result.output) == (2,)


def test_document_manifest_is_the_default_one() -> None:
    [text] = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    manifest = Manifest.parse(text.encode())
    assert manifest.limits == Limits()
    assert manifest.capabilities == BLOB
    assert json.loads(text)["engine"] == "js"


def test_document_random_is_the_documented_generator(machine: Machine) -> None:
    order = machine.order(b"function main() { return [Math.random(), Math.random()].join() }")
    seed = keccak256(keccak256(b"Adyton random v1") + order.request.request_id)
    state = [int.from_bytes(seed[at : at + 4], "little") for at in range(0, 16, 4)]

    def rotated(value: int, bits: int) -> int:
        return (value << bits | value >> 32 - bits) & 0xFFFF_FFFF

    def draw() -> int:
        a, b, c, d = state
        result = rotated(b * 5 & 0xFFFF_FFFF, 7) * 9 & 0xFFFF_FFFF
        c, d = c ^ a, d ^ b
        state[:] = [a ^ d, b ^ c, c ^ (b << 9 & 0xFFFF_FFFF), rotated(d, 11)]
        return result

    expected = [((draw() >> 5) * 2**26 + (draw() >> 6)) / 2**53 for _ in range(2)]
    assert [float(text) for text in machine.execute(order).output.split(b",")] == expected
