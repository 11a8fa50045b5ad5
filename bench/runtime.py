"""
How fast is the enclave? `scripts/bench runtime [--json]`.

Measures, in one run on one machine, a small JavaScript job (JSON in, sort 50 numbers, JSON out):
- through a real, locked enclave process: request fields in, signed receipt out, over its Unix socket;
- by the native QuickJS binding, a fresh context per job: no sandbox, no meter, no receipt;
- by spawning `deno run`;
- and the instantiation of the same snapshot alone.
Only the ratios mean something elsewhere. The two rivals are no dependencies of Adyton: they are installed from
`scripts/bench-requirements.lock` into an environment of their own under `build/`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import wasmtime
from rich.console import Console
from rich.table import Table

from bench.enclave_host import Enclave
from bench.tools import tools
from oracle.enclave.engine_files import load_javascript
from oracle.enclave.javascript import JavaScript
from oracle.enclave.sandbox import THREAD_STACK_BYTES, configuration
from oracle.types.program import Engine

ROOT: Final = Path(__file__).parents[1]
ROUNDS: Final = 5
JOBS_PER_ROUND: Final = 400
SPAWNS_PER_ROUND: Final = 4
NUMBERS: Final = [(n * 7919) % 1009 for n in range(50)]
PROGRAM: Final = """
function main(input) {
  const numbers = JSON.parse(new TextDecoder().decode(input));
  return JSON.stringify(numbers.sort((a, b) => a - b));
}"""
_NATIVE: Final = """
import json, quickjs, sys, time
source = "function main(text) { return JSON.stringify(JSON.parse(text).sort((a, b) => a - b)) }"
data, jobs = sys.argv[1], int(sys.argv[2])
def job():
    context = quickjs.Context()
    context.eval(source)
    return context.get("main")(data)
assert json.loads(job()) == sorted(json.loads(data))
times = []
for _ in range(jobs):
    began = time.perf_counter()
    job()
    times.append(time.perf_counter() - began)
print(json.dumps(times))
"""
_DENO: Final = "console.log(JSON.stringify(JSON.parse(Deno.args[0]).sort((a, b) => a - b)));"
_ECHO: Final = """(module
  (import "adyton" "input_read" (func $read (param i32 i32 i32) (result i32)))
  (import "adyton" "output" (func $output (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "run")
    (call $output (i32.const 0) (call $read (i32.const 0) (i32.const 0) (i32.const 1024)))))"""


@dataclass(frozen=True, slots=True)
class Report:
    """Medians in milliseconds, and what the issue asks of them."""

    js_round_trip_ms: float
    js_round_trip_p99_ms: float
    wasm_round_trip_ms: float
    instantiate_ms: float
    native_ms: float
    deno_ms: float

    @property
    def native_ratio(self) -> float:
        """How many times the native binding's time a job takes."""
        return self.js_round_trip_ms / self.native_ms

    @property
    def deno_ratio(self) -> float:
        """How many jobs are done while Deno does one."""
        return self.deno_ms / self.js_round_trip_ms

    @property
    def is_good(self) -> bool:
        """Whether all targets are met."""
        return self.js_round_trip_ms <= 1 and self.native_ratio <= 4 and self.deno_ratio >= 40


def timed(work: Callable[[], object], times: int) -> list[float]:
    """How long each of `times` calls takes, in seconds."""
    results = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        results.append(time.perf_counter() - began)
    return results


def instantiation() -> list[float]:
    """How long a fresh guest of the JavaScript snapshot takes, in seconds each."""
    results: list[float] = []

    def measure() -> None:
        engine = wasmtime.Engine(configuration(max_memory_bytes=64 << 20))
        module, addresses, _ = load_javascript(engine)
        javascript = JavaScript(engine, module, addresses)
        timed(javascript.instantiate, 200)
        results.extend(timed(javascript.instantiate, 2_000))

    threading.stack_size(THREAD_STACK_BYTES)
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    threading.stack_size(0)
    return results


def measure() -> Report:
    """Run everything, rivals and enclave in turns so that a busy moment hits them alike."""
    rivals, data = tools(), json.dumps(NUMBERS)
    js: list[float] = []
    wasm: list[float] = []
    native: list[float] = []
    deno: list[float] = []
    with tempfile.TemporaryDirectory(prefix="adyton-") as directory:
        script = Path(directory) / "job.js"
        script.write_text(_DENO)
        with Enclave.start(Path(directory) / "enclave.sock") as enclave:
            sort = enclave.order(PROGRAM.encode(), data.encode(), Engine.JS)
            echo = enclave.order(bytes(wasmtime.wat2wasm(_ECHO)), data.encode(), Engine.WASM)
            if json.loads(enclave.output(sort)) != sorted(NUMBERS) or enclave.output(echo) != data.encode():
                raise SystemExit("the enclave gives wrong answers")
            for _ in range(ROUNDS):
                js += timed(lambda: enclave.output(sort), JOBS_PER_ROUND)
                wasm += timed(lambda: enclave.output(echo), JOBS_PER_ROUND)
                command = [str(rivals / "python"), "-c", _NATIVE, data, str(JOBS_PER_ROUND)]
                native += json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                deno += timed(lambda: spawn_deno(rivals / "deno", script, data), SPAWNS_PER_ROUND)
    return Report(
        js_round_trip_ms=statistics.median(js) * 1e3,
        js_round_trip_p99_ms=statistics.quantiles(js, n=100)[98] * 1e3,
        wasm_round_trip_ms=statistics.median(wasm) * 1e3,
        instantiate_ms=statistics.median(instantiation()) * 1e3,
        native_ms=statistics.median(native) * 1e3,
        deno_ms=statistics.median(deno) * 1e3,
    )


def spawn_deno(deno: Path, script: Path, data: str) -> None:
    """One job by Deno."""
    command = [str(deno), "run", "--quiet", "--no-lock", str(script), data]
    environment = {
        "PATH": os.environ["PATH"],
        "DENO_DIR": str(script.parent),
        "NO_COLOR": "1",
        "DENO_NO_UPDATE_CHECK": "1",
    }
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment
    ).stdout
    if json.loads(output) != sorted(NUMBERS):
        raise SystemExit("Deno gives wrong answers")


def show(report: Report) -> None:
    """A table for people."""
    table = Table(title="A small JavaScript job, medians of one run")
    for column in ("what", "ms", "against the enclave", "wanted"):
        table.add_column(column, justify="left" if column == "what" else "right")
    base = report.js_round_trip_ms
    table.add_row("enclave round trip, signed receipt (JavaScript)", f"{base:.3f}", "1.0", "<= 1 ms")
    table.add_row("  99th percentile", f"{report.js_round_trip_p99_ms:.3f}", "", "")
    table.add_row("enclave round trip, signed receipt (WebAssembly echo)", f"{report.wasm_round_trip_ms:.3f}", "", "")
    table.add_row("instantiation of the snapshot alone", f"{report.instantiate_ms:.4f}", "", "about 0.03 ms")
    ratio = f"enclave takes {report.native_ratio:.2f} x"
    table.add_row("native QuickJS binding, no sandbox", f"{report.native_ms:.3f}", ratio, "<= 4 x")
    table.add_row("deno run", f"{report.deno_ms:.1f}", f"enclave is {report.deno_ratio:.0f} x faster", ">= 40 x")
    Console().print(table)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench runtime", description="Measure the enclave runtime.")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    arguments = parser.parse_args()
    report = measure()
    if arguments.json:
        ratios = {"native_ratio": report.native_ratio, "deno_ratio": report.deno_ratio, "is_good": report.is_good}
        print(json.dumps({**asdict(report), **ratios}))
    else:
        show(report)


if __name__ == "__main__":
    main()
