"""
What is remembered of each node, and the rules by which nodes are set aside: values in, verdicts out, no I/O.

A node that failed is *benched*: not asked for a while, 1 s at first, twice as long each time it fails again, at most
30 s, with jitter so that many pools do not come back at once; a node that says how long it wants to be left alone
(`Retry-After`) gets that. What a node did is forgotten once it has answered well for a minute. The first time is
logged, and the return to good standing; what is between is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

_LOG = logging.getLogger(__name__)
FAR_BLOCKS = 32  # apart from the other nodes
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_LONGEST_WAIT_S = 300.0  # that a node may ask for
_LAST_RESORT_S = 2.0  # with nobody else to ask, a benched node is tried again this soon
_SOLE_FIRST_PAUSE_S = 0.1
_FORGET_AFTER_S = 60.0

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Standing:
    """One node's record. Its owner guards it against threads."""

    name: str
    strikes: int = 0
    struck_at_s: float = 0.0
    pause_s: float = 0.0
    has_asked_to_wait: bool = False
    reason: str = ""
    head: int | None = None  # the newest block that it named

    def is_active(self, now_s: float) -> bool:
        """Whether it may be asked."""
        return now_s >= self.struck_at_s + self.pause_s

    def is_last_resort(self, now_s: float) -> bool:
        """Whether it may be asked if nobody else can be."""
        if self.has_asked_to_wait:
            return self.is_active(now_s)
        return now_s >= self.struck_at_s + min(self.pause_s, _LAST_RESORT_S)

    def strike(
        self, now_s: float, reason: str, jitter: Callable[[], float], *, wait_s: float | None = None, sole: bool = False
    ) -> None:
        """Bench it for a while. `sole`: there is no other node, so it is asked again soon."""
        first = _SOLE_FIRST_PAUSE_S if sole else _FIRST_PAUSE_S
        longest = _LAST_RESORT_S if sole else _LONGEST_PAUSE_S
        pause_s = min(longest, first * 2 ** min(self.strikes, 16)) * (0.5 + jitter() / 2)
        self.has_asked_to_wait = wait_s is not None
        self.pause_s = pause_s if wait_s is None else min(_LONGEST_WAIT_S, max(wait_s, pause_s))
        self.struck_at_s, self.reason = now_s, reason
        self.strikes += 1
        level = logging.WARNING if self.strikes == 1 and not sole else logging.DEBUG  # a sole node's caller tells
        _LOG.log(level, "node %s is not asked for %.1f s: %s", self.name, self.pause_s, reason)

    def praise(self, now_s: float, *, sole: bool = False) -> None:
        """It answered well."""
        if self.strikes and (sole or now_s >= self.struck_at_s + self.pause_s + _FORGET_AFTER_S):
            self.strikes, self.reason, self.pause_s, self.has_asked_to_wait = 0, "", 0.0, False
            if not sole:
                _LOG.info("node %s is in good standing again", self.name)


def implausible(heads: Mapping[K, int], before: Mapping[K, int | None]) -> dict[K, str]:
    """
    Which nodes' heads cannot be trusted, and why. `before` is what they said last.

    A node ahead of all others by more than `FAR_BLOCKS` is taken for a liar, one as far behind the second highest for a
    laggard. Of two nodes alone neither outvotes the other: then the one ahead is the liar if it jumped there, and else
    the other lags. What stays undetected: two nodes that lie alike, and a lead of up to `FAR_BLOCKS`.
    """
    if len(heads) < 2:
        return {}
    ranked = sorted(heads, key=heads.__getitem__, reverse=True)
    leader, second = ranked[0], ranked[1]
    verdicts: dict[K, str] = {}
    lead = heads[leader] - heads[second]
    if lead > FAR_BLOCKS:
        last = before.get(leader)
        jumped = last is not None and heads[leader] - last > FAR_BLOCKS
        if len(heads) > 2 or jumped:
            verdicts[leader] = f"its head, {heads[leader]}, is {lead} blocks ahead of every other node"
        reference = heads[second] if verdicts else heads[leader]
    else:
        reference = heads[second]
    for node, number in heads.items():
        if node not in verdicts and reference - number > FAR_BLOCKS:
            verdicts[node] = f"its head, {number}, is {reference - number} blocks behind"
    return verdicts
