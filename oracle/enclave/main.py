"""
The enclave process: `python -m oracle.enclave.main --socket PATH`, or `--listen ADDRESS` where no Unix socket reaches.

Boot order, each step needing what the later ones take away: helper process, socket, engines and a first job, keys and
measurement, then lock down, then serve. Writes `ready` to stdout when hosts may connect.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Final, TypeVar

import wasmtime

from oracle import log
from oracle.attestation.quoters.detection import AUTO, open_quoter
from oracle.crypto.hashing import keccak256
from oracle.enclave import lockdown
from oracle.enclave.compiler import Compiler
from oracle.enclave.engine_files import load_javascript
from oracle.enclave.executor import Executor
from oracle.enclave.identity import Identity
from oracle.enclave.javascript import JavaScript
from oracle.enclave.listening import listen_at
from oracle.enclave.measurement import measure
from oracle.enclave.protocol import Execute
from oracle.enclave.sandbox import PAGE_BYTES, THREAD_STACK_BYTES, TICK_S, configuration
from oracle.enclave.server import MAX_CONNECTIONS, Enclave, listen, serve_connections
from oracle.enclave.web.pipe import NO_PIPE
from oracle.enclave.web.roots import ROOTS, tls_context
from oracle.enclave.webassembly import WebAssembly
from oracle.errors import ConfigurationError, QuoteError
from oracle.types.ids import Address, PoolId
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.types.receipt import Outcome
from oracle.types.request import Request

CEILINGS: Final = Limits(
    fuel=20_000_000_000,
    memory_bytes=256 << 20,
    wall_time_ms=30_000,
    input_bytes=1 << 20,
    output_bytes=64 << 10,
    log_bytes=64 << 10,
    stack_bytes=1 << 20,
)
EXIT_CONFIGURATION: Final = 78  # sysexits.h: starting it again cannot help
EXIT_UNAVAILABLE: Final = 69  # sysexits.h: what gives quotes is not there (yet)
_PARENT_CHECK_TICKS = 25
_WARM_UP = {
    Engine.JS: b"function main(input) { return new TextEncoder().encode(new TextDecoder().decode(input)); }",
    Engine.WASM: bytes.fromhex("0061736d0100000001040160000003020100070701") + b"\x03run\0\0\x0a\x04\x01\x02\0\x0b",
}
_logger = logging.getLogger("enclave")
Result = TypeVar("Result")


def boot_executor(ceilings: Limits, roots: Path) -> tuple[wasmtime.Engine, Executor]:
    """The engines, ready and warm. Raises ConfigurationError."""
    pages = -(-ceilings.memory_bytes // PAGE_BYTES)
    engine = wasmtime.Engine(configuration(max_memory_bytes=pages * PAGE_BYTES))
    compiler = Compiler()
    module, addresses, was_recorded = load_javascript(engine)
    if not was_recorded:
        _logger.warning("the native code of the JavaScript engine does not fit this host and was compiled anew")
    tls = tls_context(roots)
    executor = Executor(JavaScript(engine, module, addresses), WebAssembly(engine, compiler), ceilings, tls)
    for kind, code in _WARM_UP.items():
        _warm_up(executor, kind, code, ceilings)
    return engine, executor


def _warm_up(executor: Executor, engine: Engine, code: bytes, ceilings: Limits) -> None:
    """Run a first job, because wasmtime opens files and Python loads codecs on it."""
    limits = replace(ceilings, fuel=min(ceilings.fuel, 10_000_000))
    manifest = Manifest(engine, limits).encode()
    program = Program(engine, keccak256(manifest), keccak256(code))
    zero = Address(bytes(20))
    request = Request(0, zero, zero, program.program_id, PoolId(bytes(32)), keccak256(b"warm"), 0, 0, 0, 0, 0)
    contents = {program.manifest_hash: manifest, program.code_hash: code}
    order = Execute(request, engine, program.manifest_hash, program.code_hash, b"warm", zero)
    result = executor.execute(order, request.request_id, contents.get, NO_PIPE)
    if result.outcome is not Outcome.COMPLETED:
        raise ConfigurationError(f"the {engine.name} engine does not work: {result.output.decode()}")


def _in_thread(work: Callable[[], Result]) -> Result:
    """The result of `work`, done by a thread with a stack large enough for guests."""
    results: list[Result | BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again below
            results.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


def watch(engine: wasmtime.Engine, parent: int | None) -> None:
    """The watchdog thread: tick, and end the process if `parent` is gone."""
    pause, ticks = threading.Event(), 0
    while True:
        pause.wait(TICK_S)
        engine.increment_epoch()
        ticks += 1
        if parent is not None and ticks % _PARENT_CHECK_TICKS == 0 and os.getppid() != parent:
            os._exit(0)


def run(
    where: Path | str, ceilings: Limits, selection: str, roots: Path, *, is_locked: bool, parent: int | None
) -> None:
    """
    Boot and serve until the process is killed.

    `where` is a Unix socket's path or an address as `listen_at` reads it, `selection` says which quoter, as
    `quoters.detection` reads it. The certificate authorities of the file `roots` are part of the measurement.

    Raises:
        ConfigurationError: the engine is not built, the socket cannot be used, or there is no such quoter.
        QuoteError: the platform gives no quote.
    """
    threading.stack_size(THREAD_STACK_BYTES)
    listener = listen(where) if isinstance(where, Path) else listen_at(where)
    active = ["no_new_privs"] if is_locked and lockdown.restrict_process() else []
    engine, executor = _in_thread(lambda: boot_executor(ceilings, roots))
    quoter = open_quoter(selection, measure(roots=roots))
    identity = Identity(quoter)
    enclave = Enclave(identity, executor, ceilings)
    needs = quoter.needs
    if is_locked and lockdown.restrict_files(needs.readable, needs.writable):
        active.append("landlock")
    opened = threading.Event()
    threading.Thread(target=watch, args=(engine, parent), daemon=True).start()
    for _ in range(MAX_CONNECTIONS):
        threading.Thread(target=serve_connections, args=(listener, enclave, opened), daemon=True).start()
    if is_locked and lockdown.restrict_system_calls(needs.system_calls):
        active.append("seccomp")
    me = {"signer": "0x" + identity.signer.hex(), "measurement": "0x" + identity.measurement.hex()}
    me["quoter"] = quoter.name
    _logger.info("ready", extra={**me, "lockdown": ",".join(active) or "none", "socket": str(where)})
    gc.collect()
    gc.freeze()  # what lives now lives for ever: no job need look at it again
    opened.set()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Event().wait()


def parse_ceilings(text: str) -> Limits:
    """
    The ceilings, changed by a JSON object of limits.

    Raises:
        ConfigurationError: not a JSON object, or not of known limits and positive integers.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"--ceilings takes a JSON object, not {text[:80]!r}") from error
    known = {field.name for field in fields(Limits)}
    if not isinstance(given, dict) or not given.keys() <= known:
        raise ConfigurationError(f"--ceilings takes a JSON object of {', '.join(sorted(known))}")
    if not all(type(value) is int and value > 0 for value in given.values()):
        raise ConfigurationError("--ceilings takes positive integers")
    return replace(CEILINGS, **given)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m oracle.enclave.main", description="Run an enclave.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="Unix socket to listen on")
    where.add_argument("--listen", metavar="ADDRESS", help="tcp:HOST:PORT or vsock:PORT instead; only for its own host")
    parser.add_argument("--ceilings", default="{}", help='JSON of limits to change, like {"fuel": 1000000000}')
    parser.add_argument(
        "--quoter",
        default=os.environ.get("ADYTON_QUOTER", AUTO),
        help="auto; gramine, nitro, dstack, configfs, each [:PATH]; simulated[:KIND[:MACHINE]]. Default: auto",
    )
    parser.add_argument("--roots", type=Path, default=ROOTS, help="certificate authorities (PEM); measured")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when the starting process is gone")
    parser.add_argument("--no-lockdown", action="store_true", help="insecure, for debugging: keep all privileges")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    arguments = parser.parse_args()
    parent = os.getppid() if arguments.exit_with_parent else None
    log.set_up(arguments.log_format)
    try:
        ceilings, is_locked = parse_ceilings(arguments.ceilings), not arguments.no_lockdown
        where, selection = arguments.socket or arguments.listen, arguments.quoter
        run(where, ceilings, selection, arguments.roots, is_locked=is_locked, parent=parent)
    except (ConfigurationError, QuoteError) as error:
        _logger.error("%s", error)  # noqa: TRY400  # an operator's mistake or the platform's, not a crash
        return EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else EXIT_UNAVAILABLE
    except KeyboardInterrupt:
        os._exit(0)  # threads inside guests are not waited for
    return 0


if __name__ == "__main__":
    sys.exit(main())
