"""Fuel is the same on every machine: recorded artifacts burn exactly what was recorded, in any order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oracle.programs.running import Workbench

RECORD = json.loads((Path(__file__).parents[2] / "vectors" / "fuel.json").read_text())
CASES = RECORD["cases"]


def what_came_of(bench, case):
    code, data = (bytes.fromhex(case[name][2:]) for name in ("code", "input"))
    run = bench.run(case["manifest"].encode(), code, data)
    return run.outcome.name, "0x" + run.output.hex(), str(run.fuel_used)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_recorded_program_burns_exactly_the_recorded_fuel(bench, case):
    assert what_came_of(bench, case) == (case["outcome"], case["output"], case["fuelUsed"]), (
        "what programs cost has changed: if that is meant, run `python tests/vectors/generate_fuel.py`"
    )


def test_recorded_programs_in_another_workbench_and_order_burn_the_same():
    with Workbench() as bench:
        for case in reversed(CASES):
            assert what_came_of(bench, case) == (case["outcome"], case["output"], case["fuelUsed"])
