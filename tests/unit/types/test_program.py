"""Manifests are parsed strictly: any bytes give a manifest or one of our errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.errors import EncodingError, InvalidInputError, LimitExceededError
from oracle.types.program import Capability, Engine, Limits, Manifest, Program
from oracle.types.web import FetchTerms

MANIFEST = Manifest(Engine.JS, Limits(), frozenset({Capability.BLOB}))


def edited(manifest=MANIFEST, **changes):
    document = json.loads(manifest.encode())
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


def test_encode_without_fetch_is_as_it_always_was():
    assert Manifest(Engine.WASM, Limits(), frozenset({Capability.BLOB})).encode() == (
        b'{"capabilities":["blob"],"engine":"wasm","limits":{"fuel":10000000000,"input_bytes":65536,"log_bytes":16384,'
        b'"memory_bytes":67108864,"output_bytes":16384,"stack_bytes":262144,"wall_time_ms":10000},"version":1}'
    )


FETCHING = Manifest(
    Engine.JS, Limits(), frozenset({Capability.FETCH}), FetchTerms(("a.example", "b.example:8443"), ("GET", "POST"))
)


def test_parse_manifest_with_fetch_gives_it_back():
    assert Manifest.parse(FETCHING.encode()) == FETCHING


@pytest.mark.parametrize(
    "changes",
    [
        {"capabilities": []},
        {"fetch": None},
        {"fetch": []},
        {"fetch__hosts": []},
        {"fetch__hosts": "a.example"},
        {"fetch__hosts": ["a.example", "a.example"]},
        {"fetch__hosts": [f"h{number}.example" for number in range(33)]},
        {"fetch__hosts": ["A.example"]},
        {"fetch__hosts": ["*.example"]},
        {"fetch__hosts": ["https://a.example"]},
        {"fetch__hosts": ["a.example/"]},
        {"fetch__hosts": ["a.example:443"]},
        {"fetch__hosts": ["a.example:22"]},
        {"fetch__hosts": ["a.example:65536"]},
        {"fetch__hosts": ["a.example:08443"]},
        {"fetch__hosts": ["a.example."]},
        {"fetch__hosts": ["localhost"]},
        {"fetch__hosts": ["127.0.0.1"]},
        {"fetch__hosts": ["127.1"]},
        {"fetch__hosts": ["0x7f.0x1"]},
        {"fetch__hosts": ["[::1]"]},
        {"fetch__hosts": ["::1"]},
        {"fetch__hosts": ["xn--é.example"]},
        {"fetch__hosts": [1]},
        {"fetch__methods": []},
        {"fetch__methods": ["get"]},
        {"fetch__methods": ["CONNECT"]},
        {"fetch__calls": 0},
        {"fetch__calls": 33},
        {"fetch__calls": True},
        {"fetch__bytes": 2**40},
        {"fetch__bytes": 1.5},
        {"fetch__time_ms": 30_001},
        {"fetch__time_ms": None},
        {"fetch__retries": 1},
    ],
)
def test_parse_fetch_section_out_of_order_gives_encoding_error(changes):
    with pytest.raises(EncodingError):
        Manifest.parse(edited(FETCHING, **changes))


def test_parse_fetch_section_without_the_capability_gives_encoding_error():
    with pytest.raises(EncodingError):
        Manifest.parse(edited(MANIFEST, fetch=FETCHING.fetch.encode()))


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
