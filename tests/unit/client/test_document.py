"""Receipt documents of strangers, and what it takes to use the SDK."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.client import ReceiptDocument, verify_receipt
from oracle.errors import AttestationError, EncodingError, InvalidInputError, LimitExceededError
from tests.unit.client.test_sdk_vectors import DOCUMENTS, VECTORS, trust_of

SINGLE: dict[str, Any] = DOCUMENTS["single"]["document"]
CASE = VECTORS["cases"][0]
TRUST, AT_S = trust_of(CASE), int(CASE["at"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["0x", "0x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(members: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(members, dict):
        return [prefix]
    return [prefix, *(path for name in members for path in paths(members[name], (*prefix, name)))]


@given(st.sampled_from(paths(SINGLE)[1:]), JSON)
def test_verify_receipt_any_member_replaced_raises_our_errors_only(path, value):
    document = copy.deepcopy(SINGLE)
    owner = document
    for name in path[:-1]:
        owner = owner[name]
    owner[path[-1]] = value
    try:
        verify_receipt(ReceiptDocument.parse(document), TRUST, AT_S)
    except (InvalidInputError, AttestationError):
        return
    believed = ReceiptDocument.parse(document)  # what nobody signed, or the same as it was
    assert (believed.receipt, believed.output) == (ReceiptDocument.parse(SINGLE).receipt, b"output")


@given(st.integers(0, len(json.dumps(SINGLE)) - 1), st.integers(0, 255))
def test_parse_any_byte_replaced_raises_our_errors_only(at, byte):
    content = bytearray(json.dumps(SINGLE).encode())
    content[at] = byte
    try:
        ReceiptDocument.parse(bytes(content))
    except InvalidInputError:
        return


@given(st.binary(max_size=64) | st.text(max_size=64) | st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_parse_anything_else_is_refused(content):
    with pytest.raises(InvalidInputError):
        ReceiptDocument.parse(content)


@pytest.mark.parametrize("content", [{"version": {1}}, "[" * 100_000, b"\xff", '{"version": 1, "version": 1}'])
def test_parse_what_is_no_json_is_refused(content):
    with pytest.raises(EncodingError, match="not a receipt document"):
        ReceiptDocument.parse(content)


def test_parse_too_large_is_refused():
    with pytest.raises(LimitExceededError):
        ReceiptDocument.parse(bytes(17 << 20))


def test_import_of_the_client_loads_neither_queue_nor_database_nor_enclave():
    code = "import sys, oracle.client; print(*(name for name in sys.argv[1:] if name in sys.modules))"
    names = ["celery", "kombu", "sqlalchemy", "wasmtime", "oracle.store", "oracle.enclave", "oracle.jobs"]
    done = subprocess.run([sys.executable, "-c", code, *names], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
