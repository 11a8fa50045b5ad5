"""Where running processes spend their time, by py-spy: it samples from outside and needs the right to trace them."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.tools import tools

_PER_SECOND: Final = 100
_SHOWN: Final = 12
_OURS: Final = ("oracle/",)
_ALWAYS: Final = ("oracle/parts.py", "oracle/worker.py", "oracle/wiring.py")  # entry points, and threads that wait

Shares = list[tuple[str, float]]  # function, share of what its process did; those it calls are counted


@contextmanager
def profiled(pids: Mapping[str, int], seconds: int) -> Iterator[dict[str, Shares]]:
    """Sample these processes for `seconds` from the block's begin; its end waits for that, and fills in the shares."""
    shares: dict[str, Shares] = {}
    with tempfile.TemporaryDirectory() as name:
        files = {part: Path(name) / part for part in pids}
        options = ["--duration", str(seconds), "--rate", str(_PER_SECOND), "--format", "raw"]
        samplers = [
            subprocess.Popen(
                [tools() / "py-spy", "record", *options, "--output", files[part], "--pid", str(pid)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for part, pid in pids.items()
        ]
        yield shares
        for sampler in samplers:
            sampler.wait()
        shares |= {part: _shares(file.read_text()) for part, file in files.items() if file.exists()}


def _shares(folded: str) -> Shares:
    """Of lines `frame;frame;frame count`, each function of ours once per line."""
    within, total = Counter[str](), 0
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = {frame.rpartition(":")[0] + ")" for frame in stack.split(";")}
        ours = {f for f in frames if any(at in f for at in _OURS) and not any(at in f for at in _ALWAYS)}
        if ours:  # else a thread that waits, or the queue itself
            total += int(count)
            within.update(dict.fromkeys(ours, int(count)))
        elif "celery" in stack or "kombu" in stack:
            total += int(count)
            within["celery and kombu, besides tasks"] += int(count)
    return [(frame, count / total) for frame, count in within.most_common(_SHOWN)]
