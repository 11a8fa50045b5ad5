"""
From a request to the result that its receipt will state.

1. The ids must follow from the fields: program id, input hash. Otherwise no receipt.
2. The manifest must be the one hashed. Otherwise, or if the host does not have it, no receipt.
3. The manifest must parse, be for the program's engine, and stay within the ceilings. Otherwise Denied.
4. The input must be within the manifest's cap. Otherwise InputTooLarge.
5. The code must be the one hashed, or no receipt; and must compile and evaluate, or InvalidProgram.
6. The fee must afford some fuel. Otherwise OutOfFuel.
7. The program runs, with the least of the manifest's fuel and what the fee affords.
8. The fee must afford posting the output. Otherwise OutputTooLarge.

What a program fetched on the way is in the result whatever its outcome.

The order is part of the behaviour: every honest enclave gives the same outcome, unless
a program fetches and servers answer otherwise. What the contract checks is not
checked here: whether the request exists, its deadline, who pays. Compiled programs and contents are cached; no
outcome depends on it.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from oracle.crypto.hashing import keccak256
from oracle.enclave.cache import BoundedCache
from oracle.enclave.javascript import Delta, JavaScript
from oracle.enclave.job import Job
from oracle.enclave.outcome import HostError, Result, StoppedError
from oracle.enclave.protocol import Execute
from oracle.enclave.web.pipe import Pipe
from oracle.enclave.web.session import Session
from oracle.enclave.webassembly import LinkedProgram, WebAssembly
from oracle.errors import InvalidInputError
from oracle.types.ids import ProgramId, RequestId, hex_of
from oracle.types.pool import Pool
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.types.receipt import Outcome

Ask = Callable[[bytes], bytes | None]  # what the host has for a hash, if anything

_PROGRAM_CACHE_BYTES = 256 << 20
_CONTENT_CACHE_BYTES = 64 << 20
_MANIFEST_CACHE_BYTES = 4 << 20
_ENTRY_BYTES = 1_024  # what an entry costs besides its content


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A program ready to run, or why it never will be."""

    artifact: Delta | LinkedProgram | StoppedError

    @property
    def size(self) -> int:
        return _ENTRY_BYTES + (0 if isinstance(self.artifact, StoppedError) else self.artifact.size)


class Executor:
    """Runs one job at a time; callers of other threads wait."""

    def __init__(self, javascript: JavaScript, webassembly: WebAssembly, ceilings: Limits, tls: ssl.SSLContext) -> None:
        self._javascript = javascript
        self._webassembly = webassembly
        self._ceilings = ceilings
        self._tls = tls
        self._lock = threading.Lock()
        self._programs: BoundedCache[ProgramId, _Prepared] = BoundedCache(_PROGRAM_CACHE_BYTES)
        self._contents: BoundedCache[bytes, bytes] = BoundedCache(_CONTENT_CACHE_BYTES)
        self._manifests: BoundedCache[bytes, Manifest | StoppedError] = BoundedCache(_MANIFEST_CACHE_BYTES)

    def execute(self, order: Execute, request_id: RequestId, ask: Ask, pipe: Pipe) -> Result:
        """
        Serve a request, whose id the caller has computed, with what its host has and over its host's pipe.

        Raises:
            HostError: the fields contradict each other, or the host lacks a content or gives a wrong one.
        """
        self._check_ids(order)  # 1
        with self._lock:
            try:
                return self._execute(order, request_id, ask, pipe)
            except StoppedError as error:
                return Result.stopped(error)

    def _execute(self, order: Execute, request_id: RequestId, ask: Ask, pipe: Pipe) -> Result:
        manifest = self._manifest(order, ask)  # 2, 3
        limits = manifest.limits
        if len(order.input) > limits.input_bytes:  # 4
            size = len(order.input)
            raise StoppedError(
                Outcome.INPUT_TOO_LARGE, f"the input has {size} bytes, the manifest allows {limits.input_bytes}"
            )
        artifact = self._prepared(order, limits, ask).artifact  # 5
        if isinstance(artifact, StoppedError):
            raise StoppedError(artifact.outcome, artifact.reason)
        request = order.request
        pool = Pool.from_id(request.pool_id)
        affordable = pool.affordable_fuel(request.callback_gas, request.max_fee_wei)
        if affordable == 0:  # 6
            raise StoppedError(Outcome.OUT_OF_FUEL, "out of fuel: the fee affords none")
        web = None if manifest.fetch is None else Session(self._tls, manifest.fetch, pipe, request)
        job = Job(
            limits,
            manifest.capabilities,
            request,
            request_id,
            order.input,
            lambda wanted: self._content(wanted, ask),
            web,
        )
        result = self._run(artifact, job, min(limits.fuel, affordable))  # 7
        if web is not None:
            result = replace(result, transcript=tuple(web.transcript))
        if result.outcome is Outcome.OUT_OF_FUEL and affordable < limits.fuel:
            reason = f"out of fuel: the fee affords {affordable}, the manifest allows {limits.fuel}"
            return replace(result, output=reason.encode())
        cost = pool.cost_wei(request.callback_gas, result.fuel_used, len(result.output))
        if result.outcome is Outcome.COMPLETED and cost > request.max_fee_wei:  # 8
            reason = f"the fee of {request.max_fee_wei} wei does not afford fuel and output, which cost {cost}"
            return replace(result, outcome=Outcome.OUTPUT_TOO_LARGE, output=reason.encode())
        return result

    def _run(self, artifact: Delta | LinkedProgram, job: Job, fuel: int) -> Result:
        if isinstance(artifact, Delta):
            return self._javascript.run(artifact, job, fuel)
        return self._webassembly.run(artifact, job, fuel)

    @staticmethod
    def _check_ids(order: Execute) -> None:
        request = order.request
        program_id = _program_id(order.engine, order.manifest_hash, order.code_hash)
        for what, stated, actual in (
            ("program id", request.program_id, program_id),
            ("input hash", request.input_hash, keccak256(order.input)),
        ):
            if stated != actual:
                raise HostError(
                    "inconsistent_request", f"the request's {what} is {hex_of(stated)}, its parts give {hex_of(actual)}"
                )
        if request.deadline_s < request.created_at_s:
            raise HostError("inconsistent_request", "the request's deadline is before its creation")

    def _manifest(self, order: Execute, ask: Ask) -> Manifest:
        known = self._manifests.get(order.manifest_hash)
        if known is None:
            data = _checked(order.manifest_hash, ask)
            known = self._read_manifest(data)
            self._manifests.put(order.manifest_hash, known, _ENTRY_BYTES)
        if isinstance(known, StoppedError):
            raise StoppedError(known.outcome, known.reason)
        if known.engine is not order.engine:
            names = known.engine.name.lower(), order.engine.name.lower()
            raise StoppedError(Outcome.DENIED, "the manifest is for engine {}, the program for {}".format(*names))
        return known

    def _read_manifest(self, data: bytes) -> Manifest | StoppedError:
        try:
            manifest = Manifest.parse(data)
        except InvalidInputError as error:
            return StoppedError(Outcome.DENIED, str(error))
        excess = manifest.limits.exceeding(self._ceilings)
        if excess is None:
            return manifest
        asked, ceiling = getattr(manifest.limits, excess), getattr(self._ceilings, excess)
        return StoppedError(Outcome.DENIED, f"the manifest asks for {excess} {asked}, the pool allows {ceiling}")

    def _prepared(self, order: Execute, limits: Limits, ask: Ask) -> _Prepared:
        program_id = order.request.program_id
        known = self._programs.get(program_id)
        if known is not None:
            return known
        code = _checked(order.code_hash, ask)
        try:
            if order.engine is Engine.JS:
                prepared = _Prepared(self._javascript.prepare(code, limits))
            else:
                prepared = _Prepared(self._webassembly.prepare(code, limits))
        except StoppedError as error:
            prepared = _Prepared(StoppedError(error.outcome, error.reason))
            if error.outcome is Outcome.TIMED_OUT:  # a slow moment of the host must not outlast it
                return prepared
        self._programs.put(program_id, prepared, prepared.size)
        return prepared

    def _content(self, content_hash: bytes, ask: Ask) -> bytes:
        data = self._contents.get(content_hash)
        if data is None:
            data = _checked(content_hash, ask)
            self._contents.put(content_hash, data, _ENTRY_BYTES + len(data))
        return data


@lru_cache(maxsize=1_024)
def _program_id(engine: Engine, manifest_hash: bytes, code_hash: bytes) -> ProgramId:
    return Program(engine, manifest_hash, code_hash).program_id


def _checked(content_hash: bytes, ask: Ask) -> bytes:
    data = ask(content_hash)
    if data is None:
        raise HostError("content_unavailable", f"the host has no content {hex_of(content_hash)}")
    if keccak256(data) != content_hash:
        raise HostError("content_mismatch", f"what the host gave as {hex_of(content_hash)} has another hash")
    return data
