"""
What a block header says, as far as we use it: its place in the chain, and the filter of its logs.

`logsBloom` has 2048 bits; every address and topic that a log of the block carries sets three of them (Ethereum Yellow
Paper, 4.3.1). So a bit that is not set proves that a value is not there; all three set prove nothing. Nothing here
checks that a header hashes to its hash: a node that invents whole headers is believed unless other nodes are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from oracle.chain.errors import NodeBehindError, NotANodeError
from oracle.crypto.hashing import keccak256
from oracle.types.block import BlockRef

_BLOOM_BYTES = 256


@dataclass(frozen=True, slots=True)
class Header:
    """A block, its parent, and the filter of its logs."""

    block: BlockRef
    parent_hash: bytes
    bloom: bytes  # 256 bytes; empty if the node gives none

    def may_hold(self, *values: bytes) -> bool:
        """False if no log of the block carries all of these addresses and topics."""
        return not self.bloom or all(_in_bloom(self.bloom, value) for value in values)


def quantity(value: Any) -> int:
    """A JSON-RPC quantity."""
    try:
        return int(value, 16)
    except (TypeError, ValueError) as error:
        raise NotANodeError(f"the node gave {value!r:.60} where a number belongs") from error


def data(value: Any) -> bytes:
    """JSON-RPC data."""
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise NotANodeError(f"the node gave {value!r:.60} where bytes belong") from error


def block_ref(answer: Any) -> BlockRef:
    """
    A block as `eth_getBlockByNumber` gives it.

    Raises:
        NodeBehindError: it gave none.
    """
    if not isinstance(answer, dict):
        raise NodeBehindError("the node gave no block")
    return BlockRef(quantity(answer.get("number")), data(answer.get("hash")), quantity(answer.get("timestamp")))


def header(answer: Any) -> Header:
    """The same with its parent and filter. Raises as `block_ref`."""
    block = block_ref(answer)
    bloom = data(answer.get("logsBloom") or "0x")
    return Header(block, data(answer.get("parentHash")), bloom if len(bloom) == _BLOOM_BYTES else b"")


@lru_cache(maxsize=64)
def _bits(value: bytes) -> tuple[int, ...]:
    digest = keccak256(value)
    return tuple(int.from_bytes(digest[at : at + 2]) & 2047 for at in (0, 2, 4))


def _in_bloom(bloom: bytes, value: bytes) -> bool:
    return all(bloom[_BLOOM_BYTES - 1 - bit // 8] >> bit % 8 & 1 for bit in _bits(value))
