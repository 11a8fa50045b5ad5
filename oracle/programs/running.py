"""
Run programs on this machine, in the very engines that enclaves use, and say what a run took.

`Workbench.run` gives outcome, output and fuel as any enclave of this build would sign them for the same request: the
code is the enclave's `Executor`, only watched. What it does not do is keep the machine safe from a bug in the sandbox:
an enclave locks itself down, a workbench does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final, Self

import wasmtime

from oracle.crypto.hashing import keccak256
from oracle.enclave.compiler import Compiled, Compiler
from oracle.enclave.engine_files import load_javascript
from oracle.enclave.executor import Executor
from oracle.enclave.main import CEILINGS
from oracle.enclave.outcome import HostError, Result
from oracle.enclave.protocol import Execute
from oracle.enclave.sandbox import THREAD_STACK_BYTES, TICK_S, configuration
from oracle.enclave.web.roots import tls_context
from oracle.errors import ProjectError
from oracle.jobs.dialer import Dialer
from oracle.programs.observing import ObservedJavaScript, ObservedWebAssembly, Trace
from oracle.types.ids import Address
from oracle.types.pool import Pool
from oracle.types.program import Manifest, Program
from oracle.types.receipt import Outcome
from oracle.types.request import Request

FREE_POOL: Final = Pool(Address(bytes(20)), 0, 0, 0)
_COSTLY_POOL = Pool(Address(bytes(20)), 0, 0, 1)
DEFAULT_CREATED_AT_S: Final = 1_767_225_600  # 2026-01-01T00:00:00Z: a run gives the same today and tomorrow


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run's request says of itself."""

    created_at_s: int = DEFAULT_CREATED_AT_S
    nonce: int = 0
    chain_id: int = 31_337
    coprocessor: Address = Address(bytes.fromhex("c0" * 20))  # noqa: RUF009  # bytes do not change
    consumer: Address = Address(bytes.fromhex("c1" * 20))  # noqa: RUF009  # bytes do not change


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run. `trace` also says how much memory it had at most."""

    outcome: Outcome
    output: bytes  # or the reason
    fuel_used: int
    logs: tuple[str, ...]
    input_bytes: int
    wall_s: float  # of this machine, preparing not included
    trace: Trace = field(repr=False)


class _CompilerOnDemand(Compiler):
    """The compile helper, started when a first module comes: JavaScript needs none."""

    def __init__(self) -> None:
        self._helper: Compiler | None = None

    def compile(self, code: bytes) -> Compiled:
        self._helper = self._helper or Compiler()
        return self._helper.compile(code)

    def close(self) -> None:
        if self._helper is not None:
            self._helper.close()


class Workbench:
    """One pair of engines, for any number of runs, one at a time. Use it as a context manager."""

    def __enter__(self) -> Self:
        """
        Start the engines.

        Raises:
            ConfigurationError: the JavaScript engine is not built.
        """
        self._trace = Trace()
        self._executor: Executor | None = None
        self._blobs: frozenset[bytes] = frozenset()
        self._dialer = Dialer()
        self._compiler = _CompilerOnDemand()
        previous = threading.stack_size(THREAD_STACK_BYTES)
        try:
            self._thread = ThreadPoolExecutor(1)
            self._new_executor = self._thread.submit(self._boot).result()
        finally:
            threading.stack_size(previous)
        return self

    def __exit__(self, *_: object) -> None:
        """End the helper and the threads."""
        self._stopped.set()
        self._thread.shutdown()
        self._compiler.close()

    def _boot(self) -> Callable[[], Executor]:
        engine = wasmtime.Engine(configuration(max_memory_bytes=CEILINGS.memory_bytes))
        self._stopped = threading.Event()
        threading.Thread(target=_tick, args=(engine, self._stopped), daemon=True).start()
        module, addresses, _ = load_javascript(engine)
        javascript = ObservedJavaScript(engine, module, addresses, self._trace)
        webassembly, tls = ObservedWebAssembly(engine, self._compiler, self._trace), tls_context()
        return lambda: Executor(javascript, webassembly, CEILINGS, tls)

    def run(
        self,
        manifest: bytes,
        code: bytes,
        given: bytes,
        *,
        facts: Facts | None = None,
        blobs: tuple[bytes, ...] = (),
    ) -> Run:
        """
        Run `code` on the input `given`.

        Raises:
            EncodingError, LimitExceededError: the manifest does not parse.
            ProjectError: the program asks for a blob that is not among `blobs`.
        """
        if facts is None and Manifest.parse(manifest).fetch is not None:
            facts = Facts(created_at_s=int(time.time()))  # servers' certificates are judged by it
        order, contents = self._ordered(manifest, code, given, facts or Facts(), blobs)
        self._thread.submit(self._prepare, order, contents).result()
        return self._thread.submit(self._run, order, contents).result()

    def require_valid(self, manifest: bytes, code: bytes) -> None:
        """
        Compile `code`, and run what a program runs before its first request.

        Raises:
            ProjectError: enclaves would answer every request with InvalidProgram.
            EncodingError, LimitExceededError: the manifest does not parse.
        """
        order, contents = self._ordered(manifest, code, b"", Facts(), ())
        result = self._thread.submit(self._prepare, order, contents).result()
        if result.outcome is Outcome.INVALID_PROGRAM:
            raise ProjectError(f"enclaves would refuse this program: {result.output.decode('utf-8', 'replace')}")

    def _ordered(
        self, manifest: bytes, code: bytes, given: bytes, facts: Facts, blobs: tuple[bytes, ...]
    ) -> tuple[Execute, Mapping[bytes, bytes]]:
        """The order, and what the host has; an executor that has seen other blobs would remember them."""
        program = Program.of(manifest, code)
        contents = {keccak256(content): content for content in (manifest, code, *blobs)}
        there = frozenset(keccak256(blob) for blob in blobs)
        if self._executor is None or there != self._blobs:
            self._executor, self._blobs = self._new_executor(), there
        return _order(program, given, facts), contents

    def _prepare(self, order: Execute, contents: Mapping[bytes, bytes]) -> Result:
        """Compile, so that the run after it is timed alone: an order whose fee affords no fuel gets that far."""
        return self._execute(replace(order, request=replace(order.request, pool_id=_COSTLY_POOL.pool_id)), contents)

    def _run(self, order: Execute, contents: Mapping[bytes, bytes]) -> Run:
        self._trace.clear()
        began = time.perf_counter()
        result = self._execute(order, contents)
        wall_s = time.perf_counter() - began
        trace = Trace(list(self._trace.calls), dict(self._trace.counts), self._trace.peak_memory_bytes)
        return Run(result.outcome, result.output, result.fuel_used, result.logs, len(order.input), wall_s, trace)

    def _execute(self, order: Execute, contents: Mapping[bytes, bytes]) -> Result:
        assert self._executor is not None
        try:
            return self._executor.execute(order, order.request.request_id, contents.get, self._dialer)
        except HostError as error:
            raise ProjectError(f"{error}: name its file with --blob, or under `blobs` of the case") from error


def _order(program: Program, given: bytes, facts: Facts) -> Execute:
    request = Request(
        facts.chain_id,
        facts.coprocessor,
        facts.consumer,
        program.program_id,
        FREE_POOL.pool_id,
        keccak256(given),
        nonce=facts.nonce,
        created_at_s=facts.created_at_s,
        deadline_s=facts.created_at_s + 600,
        callback_gas=0,
        max_fee_gwei=0,
    )
    return Execute(request, program.engine, program.manifest_hash, program.code_hash, given, Address(bytes(20)))


def _tick(engine: wasmtime.Engine, stopped: threading.Event) -> None:
    while not stopped.wait(TICK_S):
        engine.increment_epoch()
