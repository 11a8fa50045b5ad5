"""A real executor for tests: engines, compile helper and all, without a process around it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import wasmtime

from oracle.crypto.hashing import keccak256
from oracle.enclave.compiler import Compiler
from oracle.enclave.engine_files import load_javascript
from oracle.enclave.executor import Executor
from oracle.enclave.javascript import JavaScript
from oracle.enclave.main import CEILINGS, watch
from oracle.enclave.outcome import Result
from oracle.enclave.protocol import Execute
from oracle.enclave.sandbox import THREAD_STACK_BYTES, configuration
from oracle.enclave.web.pipe import Pipe
from oracle.enclave.web.roots import tls_context
from oracle.enclave.webassembly import WebAssembly
from oracle.types.ids import Address
from oracle.types.pool import Pool
from oracle.types.program import Capability, Engine, Limits, Manifest, Program
from oracle.types.request import Request
from oracle.types.web import FetchTerms
from tests.web import AUTHORITY, Net

DEFAULT_LIMITS = Limits()
FREE_POOL = Pool(Address(bytes(20)), 0, 0, 0)
COPROCESSOR, CONSUMER, PAYEE = (Address(bytes([n]) * 20) for n in (0xC0, 0xC1, 0xC2))
CREATED_AT_S = 1_700_000_000


@dataclass
class Machine:
    """Runs programs, in a thread with the stack that guests need."""

    compiler: Compiler
    contents: dict[bytes, bytes] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    pipe: Pipe = field(default_factory=lambda: Net().dialer())

    def __post_init__(self) -> None:
        previous = threading.stack_size(THREAD_STACK_BYTES)
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(int).result()  # the thread starts now, with that stack
        threading.stack_size(previous)
        self.engine = wasmtime.Engine(configuration(max_memory_bytes=CEILINGS.memory_bytes))
        threading.Thread(target=watch, args=(self.engine, None), daemon=True).start()
        self.forget()

    def forget(self) -> None:
        """Start with cold caches."""

        def fresh() -> Executor:
            module, addresses, _ = load_javascript(self.engine)
            javascript = JavaScript(self.engine, module, addresses)
            tls = tls_context(AUTHORITY.roots_file())
            return Executor(javascript, WebAssembly(self.engine, self.compiler), CEILINGS, tls)

        self.executor: Executor = self._thread.submit(fresh).result()

    def publish(self, content: bytes) -> bytes:
        """Let the host have `content`; its hash."""
        self.contents[keccak256(content)] = content
        return keccak256(content)

    def order(
        self,
        code: bytes,
        data: bytes = b"",
        *,
        engine: Engine = Engine.JS,
        limits: Limits = DEFAULT_LIMITS,
        capabilities: frozenset[str] = frozenset(),
        fetch: FetchTerms | None = None,
        manifest: bytes | None = None,
        pool: Pool = FREE_POOL,
        **changes: Any,
    ) -> Execute:
        """The order to run `code` on `data`."""
        named = capabilities | {Capability.FETCH} if fetch else capabilities
        encoded = manifest if manifest is not None else Manifest(engine, limits, named, fetch).encode()
        program = Program(engine, self.publish(encoded), self.publish(code))
        terms = {
            "nonce": 7,
            "created_at_s": CREATED_AT_S,
            "deadline_s": CREATED_AT_S + 600,
            "callback_gas": 100_000,
            "max_fee_gwei": 10**6,
            **changes,
        }
        ids = (program.program_id, pool.pool_id, keccak256(data))
        request = Request(31337, COPROCESSOR, CONSUMER, *ids, **terms)
        return Execute(request, engine, program.manifest_hash, program.code_hash, data, PAYEE)

    def execute(self, order: Execute) -> Result:
        """What the executor makes of an order."""

        def ask(content_hash: bytes) -> bytes | None:
            self.asked.append(content_hash)
            return self.contents.get(content_hash)

        return self._thread.submit(self.executor.execute, order, order.request.request_id, ask, self.pipe).result()

    def js(self, source: str, data: bytes = b"", **options: Any) -> Result:
        """Run a JavaScript program."""
        return self.execute(self.order(source.encode(), data, **options))

    def wasm(self, text: str | bytes, data: bytes = b"", **options: Any) -> Result:
        """Run a WebAssembly program, given as text or binary."""
        code = text if isinstance(text, bytes) else bytes(wasmtime.wat2wasm(text))
        return self.execute(self.order(code, data, engine=Engine.WASM, **options))

    def close(self) -> None:
        """End the helper and the thread."""
        self._thread.shutdown()
        self.compiler.close()
