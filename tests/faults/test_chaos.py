"""The chaos driver itself, for a few seconds: with everything at once, against the parts of two hosts."""

from __future__ import annotations

from pathlib import Path

from tests.faults.chaos import disturb
from tests.faults.world import a_chain, a_world

SEED, SECONDS = 4, 5.0


def test_chaos_against_separate_parts_all_ends_once(tmp_path: Path) -> None:
    """P1, P2, P3, P5, P13."""
    brief = ("kill any", "kill submitter", "kill enclave", "drop messages", "duplicate messages", "reorganise")
    with a_chain() as chain, a_world(chain, tmp_path, separate=True) as world:
        made = disturb(world, SECONDS, SEED, only=brief, waits_s=(600, 600), pause_s=(0.1, 0.6))
        report = world.settle_down()
        assert report.faults == ()
        assert made.asked > 0
        assert report.settled == report.requests > 0
        assert world.keeper.refusals == []
