"""Manifests are parsed strictly: any bytes give a manifest or one of our errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.errors import EncodingError, InvalidInputError, LimitExceededError
from oracle.types.program import Capability, Engine, Limits, Manifest, Program

MANIFEST = Manifest(Engine.JS, Limits(), frozenset({Capability.BLOB}))


def edited(**changes):
    document = json.loads(MANIFEST.encode())
    for path, value in changes.items():
        table = document
        *parents, last = path.split("__")
        for key in parents:
            table = table[key]
        if value is None:
            del table[last]
        else:
            table[last] = value
    return json.dumps(document).encode()


def test_parse_own_encoding_gives_the_manifest_back():
    assert Manifest.parse(MANIFEST.encode()) == MANIFEST


@given(data=st.binary(max_size=200))
def test_parse_any_bytes_gives_our_error(data):
    with pytest.raises(InvalidInputError):
        Manifest.parse(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": True},
        {"engine": "python"},
        {"engine": ["js"]},
        {"limits": []},
        {"limits__fuel": -1},
        {"limits__fuel": 0},
        {"limits__fuel": 1.5},
        {"limits__fuel": True},
        {"limits__fuel": 2**53},
        {"limits__fuel": None},
        {"limits__extra": 1},
        {"extra": 1},
        {"capabilities": ["network"]},
        {"capabilities": ["blob", "blob"]},
        {"capabilities": "blob"},
        {"capabilities": [["blob"]]},
        {"capabilities": None},
    ],
)
def test_parse_wrong_value_is_refused(changes):
    with pytest.raises(EncodingError):
        Manifest.parse(edited(**changes))


@pytest.mark.parametrize("data", [b"[" * 4_000, b'{"version":1,"version":1}', b"\xff", b"[]", b"NaN"])
def test_parse_not_a_plain_object_is_refused(data):
    with pytest.raises(EncodingError):
        Manifest.parse(data)


def test_parse_oversized_is_refused():
    with pytest.raises(LimitExceededError):
        Manifest.parse(MANIFEST.encode() + b" " * 4_096)


@given(code=st.binary(max_size=50), other=st.binary(max_size=50))
def test_program_id_differs_with_the_code(code, other):
    manifest = MANIFEST.encode()
    assert (Program.of(manifest, code).program_id == Program.of(manifest, other).program_id) == (code == other)


def test_exceeding_names_the_first_limit_over_the_ceiling():
    assert Limits().exceeding(Limits()) is None
    assert Limits(memory_bytes=2).exceeding(Limits(memory_bytes=1)) == "memory_bytes"
