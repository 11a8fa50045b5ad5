"""The prelude's ABI codec agrees with eth-abi, and refuses what Solidity would not have written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_abi.tools._strategies import get_abi_strategy
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.types.receipt import Outcome
from tests.unit.enclave.machine import Machine

TYPES = [
    "uint256",
    "uint8",
    "int256",
    "int64",
    "address",
    "bool",
    "bytes32",
    "bytes3",
    "bytes",
    "string",
    "uint16[]",
    "string[]",
    "bytes[2]",
    "int24[2][]",
    "(uint256,string)",
    "(address,(bool,bytes)[],uint8[3])",
]
RECODE = "function main(i) {{ const t = {types}; return abi.encode(t, abi.decode(t, i)) }}"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_abi_any_values_decoded_and_encoded_again_give_the_same_bytes(shared_machine: Machine, data: Any) -> None:
    types = data.draw(st.lists(st.sampled_from(TYPES), max_size=4))
    values = [data.draw(get_abi_strategy(kind)) for kind in types]
    encoded = encode(types, values)
    result = shared_machine.js(RECODE.format(types=json.dumps(types)), encoded)
    assert (result.outcome, result.output) == (Outcome.COMPLETED, encoded)


def test_abi_decode_each_type_gives_the_documented_value(machine: Machine) -> None:
    types = ["uint256", "int8", "address", "bool", "bytes4", "bytes", "string", "uint8[]", "(bool,string)"]
    values = [2**255, -1, b"\xab" * 20, True, b"\1\2\3\4", b"\xff", "ü", [1, 2], (False, "t")]
    program = f"""function main(i) {{
      const [a, b, c, d, e, f, g, h, j] = abi.decode({json.dumps(types)}, i);
      return JSON.stringify([`${{a}}`, `${{b}}`, c, d, e, f instanceof Uint8Array && f[0], g, h.map(String), j]) }}"""
    output = json.loads(machine.js(program, encode(types, values)).output)
    assert output == [
        str(2**255),
        "-1",
        "0x" + "ab" * 20,
        True,
        "0x01020304",
        255,
        "ü",
        ["1", "2"],
        [False, "t"],
    ]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
def test_abi_decode_damaged_bytes_throw_or_decode_never_more(
    shared_machine: Machine, data: Any, types: list[str]
) -> None:
    encoded = bytearray(encode(types, [data.draw(get_abi_strategy(kind)) for kind in types]))
    for _ in range(data.draw(st.integers(0, 3))):
        if encoded:
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    del encoded[data.draw(st.integers(0, len(encoded))) :]
    result = shared_machine.js(RECODE.format(types=json.dumps(types)), bytes(encoded))
    assert result.outcome is Outcome.COMPLETED or result.output.startswith((b"TypeError: abi: ", b"TypeError: the by"))


@pytest.mark.parametrize(
    ("types", "hex_data"),
    [
        ("uint8", "00" * 30 + "0100"),
        ("bool", "00" * 31 + "02"),
        ("address", "01" + "00" * 31),
        ("bytes3", "010203" + "00" * 28 + "01"),
        ("bytes", "00" * 31 + "20" + "00" * 31 + "01" + "ff01" + "00" * 30),
        ("bytes", "00" * 31 + "20" + "ff" * 32),
        ("uint256[]", "00" * 31 + "20" + "00" * 28 + "ffffffff"),
        ("bytes", "ff" * 32),
        ("string", "00" * 31 + "20" + "00" * 31 + "01" + "ff" + "00" * 31),
        ("uint256", "00" * 31),
    ],
)
def test_abi_decode_dirty_or_short_data_throws(machine: Machine, types: str, hex_data: str) -> None:
    result = machine.js(f"function main(i) {{ abi.decode(['{types}'], i) }}", bytes.fromhex(hex_data))
    assert result.outcome is Outcome.TRAPPED
    assert result.output.startswith(b"TypeError")


@pytest.mark.parametrize(
    "call",
    [
        "abi.encode(['uint8'], [256])",
        "abi.encode(['uint256'], [-1n])",
        "abi.encode(['uint256'], [1.5])",
        "abi.encode(['uint256'], ['1'])",
        "abi.encode(['int8'], [128n])",
        "abi.encode(['bool'], [1])",
        "abi.encode(['address'], ['0x12'])",
        "abi.encode(['bytes4'], ['0x0102'])",
        "abi.encode(['bytes'], ['text'])",
        "abi.encode(['string'], [5])",
        "abi.encode(['uint256[2]'], [[1n]])",
        "abi.encode(['uint256'], [])",
        "abi.encode(['uint7'], [1n])",
        "abi.encode(['uint264'], [1n])",
        "abi.encode(['bytes33'], ['0x'])",
        "abi.encode(['map'], [1n])",
        "abi.encode('uint256', [1n])",
        "abi.encode([5], [1n])",
        "abi.encode(['uint8' + '[]'.repeat(40)], [[]])",
    ],
)
def test_abi_encode_value_or_type_that_does_not_fit_throws(machine: Machine, call: str) -> None:
    result = machine.js(f"function main() {{ return {call} }}")
    assert result.outcome is Outcome.TRAPPED
    assert result.output.startswith(b"TypeError: abi: ")
