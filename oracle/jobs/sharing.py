"""
Whose turn is it? Operators that serve one pool agree without talking: a hash of request and operator ranks them, a new
order for each request. The first delivers at once; each other one waits for its turn, and then finds the request
settled. A rule without I/O; nothing depends on everybody keeping it but the gas of a race.
"""

from __future__ import annotations

from collections.abc import Collection

from oracle.crypto.hashing import keccak256
from oracle.types.ids import Address, RequestId


def rank(request_id: RequestId, operator: Address, peers: Collection[Address]) -> int:
    """How many of `peers` come before `operator`, who may be among them."""
    own = keccak256(request_id + operator)
    return sum(keccak256(request_id + peer) < own for peer in set(peers) if peer != operator)


def turn_ms(
    request_id: RequestId,
    operator: Address,
    peers: Collection[Address],
    backoff_ms: int,
    seen_at_ms: int,
    deadline_ms: int,
) -> int:
    """When it is `operator`'s turn. Everybody's turn comes before the deadline, if need be by shorter waits."""
    shares = len({operator, *peers}) + 1
    step_ms = min(backoff_ms, max(0, deadline_ms - seen_at_ms) // shares)
    return seen_at_ms + rank(request_id, operator, peers) * step_ms
