"""Block headers, and the filter in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.chain.blocks import Header, block_ref, header
from oracle.chain.errors import NodeBehindError, NotANodeError
from oracle.types.block import BlockRef

# Block 1 of the Yellow Paper's filter: go-ethereum, core/types/bloom9_test.go, TestBloom (MIT).
POSITIVE, NEGATIVE = (b"testtest", b"test", b"hallo", b"other"), (b"tes", b"lo")


def _bits(*values: bytes) -> bytes:
    """The filter of these values, bit by bit as the Yellow Paper has it."""
    from oracle.crypto.hashing import keccak256  # noqa: PLC0415

    bloom = 0
    for value in values:
        digest = keccak256(value)
        for at in (0, 2, 4):
            bloom |= 1 << ((digest[at] << 8 | digest[at + 1]) & 2047)
    return bloom.to_bytes(256)


def of(bloom: bytes) -> Header:
    return Header(BlockRef(1, b"\x01" * 32, 1), b"\x00" * 32, bloom)


def test_may_hold_as_go_ethereum() -> None:
    filtered = of(_bits(*POSITIVE))
    assert all(filtered.may_hold(value) for value in POSITIVE)
    assert not any(filtered.may_hold(value) for value in NEGATIVE)


@given(st.lists(st.binary(min_size=1, max_size=32), max_size=20), st.binary(min_size=20, max_size=32))
def test_may_hold_never_denies_what_is_there(values: list[bytes], other: bytes) -> None:
    filtered = of(_bits(*values))
    assert filtered.may_hold(*values)
    assert not of(bytes(256)).may_hold(other)
    assert of(b"").may_hold(other)  # a node that gives no filter rules nothing out


def test_header_of_nothing_is_a_node_that_lags() -> None:
    with pytest.raises(NodeBehindError):
        block_ref(None)
    with pytest.raises(NotANodeError):
        header({"number": "0x1", "hash": 5})
