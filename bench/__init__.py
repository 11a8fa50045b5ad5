"""Measurements: `scripts/bench`. Ratios within one run, and gas, which is exact."""
