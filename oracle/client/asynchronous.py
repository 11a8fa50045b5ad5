"""
`AsyncAdyton`: `oracle.client.adyton` for asyncio. The work is done there, in threads; only waiting is done here.

One thread sends, since transactions of an account go one after the other; others read. So a hundred tasks that wait for
their requests cost a hundred timers, not a hundred threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack

from oracle.attestation.policy import Policy
from oracle.client.adyton import DEFAULT_WAIT_S, Adyton, Document, ProgramLike, RequestLike
from oracle.client.connection import Options, options_of, read_settings
from oracle.client.document import ReceiptDocument
from oracle.client.results import Result
from oracle.client.streaming import Cursor, End, Item, Stream
from oracle.client.verification import VerifiedReceipt
from oracle.config import Settings
from oracle.crypto.ecdsa import SigningKey
from oracle.types.block import Created
from oracle.types.ids import Address, MeasurementId, PoolId
from oracle.types.program import Engine, Limits, Manifest, Program

T = TypeVar("T")
P = ParamSpec("P")
_READERS = 8


class AsyncAdyton:
    """As `Adyton`, method for method; arguments and errors are said there."""

    def __init__(
        self,
        rpc_urls: str | Sequence[str],
        *,
        account: SigningKey | Path | None = None,
        **options: Unpack[Options],
    ) -> None:
        """As `Adyton`."""
        self._adyton = Adyton(rpc_urls, account=account, **options)
        self._sender = ThreadPoolExecutor(1, "adyton-send")
        self._readers = ThreadPoolExecutor(_READERS, "adyton-read")

    @classmethod
    def from_settings(
        cls, settings: Settings | Path | str | None = None, *, account: SigningKey | Path | None = None
    ) -> Self:
        """As `Adyton.from_settings`."""
        found = read_settings(settings)
        return cls(found.nodes, account=account or found.account_key_file, **options_of(found))

    async def publish(
        self,
        code: bytes | str,
        *,
        engine: Engine = Engine.JS,
        limits: Limits | None = None,
        manifest: Manifest | bytes | None = None,
        on_chain: bool = True,
    ) -> Program:
        """Put a program on chain, unless it is there already."""
        return await self._send(
            self._adyton.publish, code, engine=engine, limits=limits, manifest=manifest, on_chain=on_chain
        )

    async def quote(
        self,
        program: ProgramLike,
        *,
        callback_gas: int = 0,
        fuel: int | None = None,
        output_bytes: int | None = None,
        pool: PoolId | bytes | str | None = None,
    ) -> int:
        """What to send along with a request: wei."""
        return await self._read(
            self._adyton.quote, program, callback_gas=callback_gas, fuel=fuel, output_bytes=output_bytes, pool=pool
        )

    async def request(
        self,
        program: ProgramLike,
        input: bytes = b"",  # noqa: A002  # as in `Adyton`
        *,
        pool: PoolId | bytes | str | None = None,
        callback_gas: int = 0,
        wait_s: int = DEFAULT_WAIT_S,
        deadline_s: int | None = None,
        max_fee_wei: int | None = None,
    ) -> Created:
        """Ask for one run of a program, and return when the request is on chain."""
        return await self._send(
            self._adyton.request,
            program,
            input,
            pool=pool,
            callback_gas=callback_gas,
            wait_s=wait_s,
            deadline_s=deadline_s,
            max_fee_wei=max_fee_wei,
        )

    async def wait(self, request: RequestLike, timeout_s: float | None = None, *, confirmations: int = 0) -> Result:
        """Wait for a request to be settled or expired."""
        waiter = await self._read(self._adyton.waiter, request, timeout_s, confirmations)
        return await self._repeat(waiter.step)

    async def expire(self, request: RequestLike) -> None:
        """Close a request that nobody answered in time."""
        await self._send(self._adyton.expire, request)

    async def withdraw_refunds(self, payees: Iterable[Address | str] = (), *, to: Address | str | None = None) -> int:
        """Pull back what is left of the account's fees; the amount in wei."""
        return await self._send(self._adyton.withdraw_refunds, payees, to=to)

    async def created(self, request: RequestLike) -> Created:
        """A request as the chain has it."""
        return await self._read(self._adyton.created, request)

    async def stream(
        self,
        *,
        consumer: Address | bytes | str | None = None,
        program: ProgramLike | None = None,
        pool: PoolId | bytes | str | None = None,
        start: Cursor | int | None = None,
        confirmations: int = 0,
        until_head: bool = False,
    ) -> AsyncFollowing:
        """What happens to requests: `async for item in await adyton.stream()`."""
        stream = await self._read(
            self._adyton.open_stream, consumer, program, pool, start, confirmations, until_head=until_head
        )

        async def advance() -> Item | End:
            found: Item | End = await self._repeat(stream.step)
            return found

        return AsyncFollowing(stream, advance)

    async def receipt(self, request: RequestLike, *, with_evidence: bool = True) -> ReceiptDocument:
        """The receipt of a settled request, with all that others need to verify it without a network."""
        return await self._read(self._adyton.receipt, request, with_evidence=with_evidence)

    async def verify(
        self,
        document: Document,
        *,
        trusted_measurements: Collection[MeasurementId | bytes | str] | None = None,
        root: bytes | None = None,
        policy: Policy | None = None,
        at_s: int | None = None,
        offline: bool = False,
    ) -> VerifiedReceipt:
        """Verify a receipt of this deployment."""
        return await self._read(
            self._adyton.verify,
            document,
            trusted_measurements=trusted_measurements,
            root=root,
            policy=policy,
            at_s=at_s,
            offline=offline,
        )

    async def close(self) -> None:
        """Close the connections, when what is being sent is mined."""
        await asyncio.to_thread(self._sender.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        self._adyton.close()

    async def __aenter__(self) -> Self:
        """For `async with`."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    async def _send(self, call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._sender, partial(call, *arguments, **options))

    async def _read(self, call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, partial(call, *arguments, **options))

    async def _repeat(self, step: Callable[[], T | None]) -> T:
        while (found := await self._read(step)) is None:  # noqa: ASYNC110  # chains set no events
            await asyncio.sleep(self._adyton.poll_s)
        return found


class AsyncFollowing(AsyncIterator[Item]):
    """`oracle.client.following.Following` for `async for`."""

    def __init__(self, stream: Stream, advance: Callable[[], Awaitable[Item | End]]) -> None:
        self._stream = stream
        self._advance = advance

    async def __anext__(self) -> Item:
        """The next item. Raises as `Stream.step`."""
        found = await self._advance()
        if isinstance(found, End):
            raise StopAsyncIteration
        return found

    @property
    def cursor(self) -> Cursor:
        """Where to go on after a restart; it covers an item once the next one was asked for."""
        return self._stream.cursor
