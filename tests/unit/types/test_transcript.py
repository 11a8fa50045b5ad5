"""V1, F5: the context in a receipt is the transcript's EIP-712 hash, and nothing else has it."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError, InvalidInputError
from oracle.types.receipt import NO_CONTEXT
from oracle.types.transcript import Fetched, context_of, encode_transcript, parse_transcript

_TYPES = {
    "Context": [{"name": "fetches", "type": "Fetch[]"}],
    "Fetch": [
        {"name": name, "type": kind}
        for name, kind in [
            ("url", "string"),
            ("method", "string"),
            ("requestHash", "bytes32"),
            ("status", "uint16"),
            ("bodyHash", "bytes32"),
            ("certificateHash", "bytes32"),
            ("time", "uint64"),
        ]
    ],
}
hashes = st.binary(min_size=32, max_size=32)
fetches = st.builds(
    Fetched,
    st.text(max_size=20, alphabet=st.characters(exclude_categories=("Cs",))),
    st.sampled_from(["GET", "POST"]),
    hashes,
    st.integers(0, 2**16 - 1),
    hashes,
    hashes,
    st.integers(0, 2**64 - 1),
)


@given(st.lists(fetches, min_size=1, max_size=4))
def test_context_of_is_the_hash_that_a_third_party_computes(transcript: list[Fetched]) -> None:
    names = [field["name"] for field in _TYPES["Fetch"]]
    rows = [
        (it.url, it.method, it.request_hash, it.status, it.body_hash, it.certificate_hash, it.time_s)
        for it in transcript
    ]
    message = {"fetches": [dict(zip(names, row, strict=True)) for row in rows]}
    domain = {"name": "any"}
    assert context_of(transcript) == encode_typed_data(domain, _TYPES, message).body


def test_context_of_nothing_is_zero() -> None:
    assert context_of([]) == NO_CONTEXT
    assert parse_transcript(b"") == ()


@given(st.lists(fetches, max_size=3))
def test_parse_transcript_gives_back_what_was_encoded(transcript: list[Fetched]) -> None:
    assert parse_transcript(encode_transcript(transcript)) == tuple(transcript)


@given(fetches, fetches)
def test_context_of_other_order_or_content_is_another(one: Fetched, other: Fetched) -> None:
    assert context_of([one]) != context_of([one, one])
    assert context_of([one]) != context_of([replace(one, url=one.url + "x")])
    if one != other:
        assert context_of([one, other]) != context_of([other, one])


@given(st.binary(max_size=60))
def test_parse_transcript_any_bytes_raise_only_invalid_input(data: bytes) -> None:
    with contextlib.suppress(InvalidInputError):
        parse_transcript(data)


@pytest.mark.parametrize(
    "change",
    [
        {"url": 1},
        {"status": "200"},
        {"status": True},
        {"status": 65536},
        {"body_hash": "0x"},
        {"more": 1},
        {"url": "\ud800"},
    ],
)
def test_parse_fetched_field_of_another_kind_is_refused(change: dict[str, object]) -> None:
    document = Fetched("u", "GET", keccak256(b""), 200, keccak256(b""), keccak256(b""), 1).document()
    with pytest.raises(EncodingError):
        Fetched.parse({**document, **change})
