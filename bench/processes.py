"""Processor time and memory of processes, by the kernel's own count."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Seconds of processor that a process has used, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def pss_kib(pid: int) -> int:
    """Memory of a process, pages shared with others divided among them."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])


def cpu_of(pids: Mapping[str, int]) -> dict[str, float]:
    """`cpu_s` by name."""
    return {name: cpu_s(pid) for name, pid in pids.items()}


@dataclass(frozen=True, slots=True)
class Memory:
    """One process over time."""

    first_kib: float  # by the fitted line
    last_kib: float
    slope_kib_per_minute: float


def fitted(samples: Sequence[tuple[float, int]]) -> Memory:
    """The line of least squares through (second, KiB)."""
    mean_s = sum(at for at, _ in samples) / len(samples)
    mean_kib = sum(kib for _, kib in samples) / len(samples)
    spread = sum((at - mean_s) ** 2 for at, _ in samples)
    slope = sum((at - mean_s) * (kib - mean_kib) for at, kib in samples) / spread if spread else 0.0
    first, last = (mean_kib + slope * (at - mean_s) for at in (samples[0][0], samples[-1][0]))
    return Memory(first, last, 60 * slope)
