"""
JSON-RPC to one node over HTTP: bounded in time and size, with typed errors, and nothing else.

What may be tried again raises `RetryableError`; an answer that means no raises `ChainError`. Safe to share between
threads. `JsonRpc` is what readers and senders need; `oracle.chain.nodes` offers it over several nodes.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

from oracle.chain.blocks import block_ref, data, quantity
from oracle.chain.errors import NodeBusyError, NodeUnreachableError, NotANodeError, RpcError, TooManyLogsError
from oracle.errors import ChainMismatchError
from oracle.types.block import BlockRef
from oracle.types.finality import Tag

__all__ = ["MAX_RESPONSE_BYTES", "Call", "JsonRpc", "Rpc", "data", "quantity"]

MAX_RESPONSE_BYTES = 128 << 20
_BUSY = (429, 503)
_BROKEN = (500, 502, 504)
_TOO_MANY_LOGS = ("limit exceeded", "too many", "more than", "block range", "response size", "query returned")
_RATE_LIMIT_CODES = (429, -32005, -32029)

Call = tuple[str, Sequence[Any]]
T = TypeVar("T")


class JsonRpc(Protocol):
    """
    A source of answers: one node, or several of which some may fail or lie.

    `read` functions get one node and may be run on several of them, at once. Every method may raise `RetryableError`.
    """

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def agreement(self) -> int:
        """How many nodes must say the same."""
        ...

    def call(self, method: str, *params: Any) -> Any:
        """One call on one node that is at the head."""
        ...

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Several calls in one round trip to one node that is at the head."""
        ...

    def require_chain(self, chain_id: int) -> None:
        """Check that `chain_id` is served. Raises `ChainMismatchError`."""
        ...

    def head(self, tag: Tag = "latest") -> BlockRef:
        """The newest block that enough nodes have."""
        ...

    def agreed(self, read: Callable[[Rpc], T], *, by_majority: bool = False) -> T:
        """What enough nodes say alike; `by_majority`: more than half of those that can be asked, if that is more."""
        ...

    def at_head(self, read: Callable[[Rpc], T]) -> T:
        """What one node says that is at the head."""
        ...

    def at_least(self, read: Callable[[Rpc], int]) -> int:
        """The largest number that enough nodes reach, for what only grows, such as a nonce."""
        ...

    def each(self, write: Callable[[Rpc], None]) -> None:
        """Run `write` on every node. Returns when the first has taken it; raises if none does."""
        ...


class Rpc:
    """One node. `call` and `batch` are a round trip each. It is believed in everything."""

    agreement = 1

    def __init__(self, url: str, timeout_s: float = 10.0, max_response_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self.url = url
        self.name = without_secrets(url)
        self._timeout_s = timeout_s
        self._max_response_bytes = max_response_bytes
        self._ids = itertools.count(1)
        try:
            self._client = httpx.Client(base_url=url, timeout=timeout_s, headers={"content-type": "application/json"})
        except (httpx.InvalidURL, ValueError) as error:
            raise NotANodeError(f"rpc_url {url!r} is not a URL: {error}") from error

    def call(self, method: str, *params: Any) -> Any:
        """
        The result of one call.

        Raises:
            NodeUnreachableError: no usable answer now.
            NotANodeError: an answer that is not JSON-RPC.
            RpcError: the node's own error.
        """
        return self.batch([(method, params)])[0]

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """The results of several calls in one round trip, in order. Raises as `call`, the first error if several."""
        results = []
        for (method, _), answer in zip(calls, self._answers(calls), strict=True):
            if isinstance(answer.get("error"), dict):
                raise _rpc_error(method, answer["error"])
            results.append(answer.get("result"))
        return results

    def require_chain(self, chain_id: int) -> None:
        """
        Check that the node serves `chain_id`.

        Raises:
            ChainMismatchError: another chain.
        """
        actual = quantity(self.call("eth_chainId"))
        if actual != chain_id:
            raise ChainMismatchError(
                f"the node at {self.name} serves chain {actual}, not {chain_id}: correct rpc_url or chain_id"
            )

    def head(self, tag: Tag = "latest") -> BlockRef:
        """The newest block; `safe` and `finalized` are an `RpcError` where the node knows none."""
        return block_ref(self.call("eth_getBlockByNumber", tag, False))

    def block(self, number: int) -> BlockRef:
        """The block with this number. Raises `NodeBehindError`."""
        return block_ref(self.call("eth_getBlockByNumber", hex(number), False))

    def agreed(self, read: Callable[[Rpc], T], *, by_majority: bool = False) -> T:  # noqa: ARG002  # one is all
        """What this node says."""
        return read(self)

    def at_head(self, read: Callable[[Rpc], T]) -> T:
        """What this node says."""
        return read(self)

    def at_least(self, read: Callable[[Rpc], int]) -> int:
        """What this node says."""
        return read(self)

    def each(self, write: Callable[[Rpc], None]) -> None:
        """Run `write` here."""
        write(self)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _answers(self, calls: Sequence[Call]) -> list[dict[str, Any]]:
        ids = [next(self._ids) for _ in calls]
        messages = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
            for number, (method, params) in zip(ids, calls, strict=True)
        ]
        document = self._post(json.dumps(messages if len(messages) > 1 else messages[0]).encode())
        if isinstance(document, dict) and len(calls) > 1 and isinstance(document.get("error"), dict):
            raise _rpc_error("batch", document["error"])
        answers = document if isinstance(document, list) else [document]
        by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
        if by_id.keys() != set(ids):
            raise NotANodeError(f"what answers at {self.name} does not speak Ethereum JSON-RPC: check rpc_url")
        return [by_id[number] for number in ids]

    def _post(self, body: bytes) -> Any:
        received = bytearray()
        deadline = time.monotonic() + self._timeout_s
        try:
            with self._client.stream("POST", "", content=body) as response:
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > self._max_response_bytes:
                        raise TooManyLogsError("response", -32005, f"over {self._max_response_bytes} bytes")
                    if time.monotonic() > deadline:  # httpx's own timeout is for each chunk
                        raise NodeUnreachableError(f"the node at {self.name} did not answer in time")
        except httpx.TimeoutException as error:
            raise NodeUnreachableError(f"the node at {self.name} did not answer in time") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise NotANodeError(f"rpc_url {self.url!r} is not an http URL: {error}") from error
        except httpx.HTTPError as error:
            raise NodeUnreachableError(
                f"cannot reach a node at {self.name}: {error or type(error).__name__}"
            ) from error
        status = response.status_code
        if status in _BUSY:
            wait_s = retry_after_s(response.headers.get("retry-after"))
            raise NodeBusyError(f"the node at {self.name} answers HTTP {status}", wait_s)
        try:
            return json.loads(received)
        except ValueError as error:
            if status in _BROKEN:
                raise NodeUnreachableError(f"the node at {self.name} answers HTTP {status}") from error
            raise NotANodeError(
                f"what answers at {self.name} does not speak Ethereum JSON-RPC (HTTP {status}): check rpc_url"
            ) from error


def without_secrets(url: str) -> str:
    """The URL without what may be an API key: user, path and query."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an unreadable URL"
    if not host:
        return url
    more = "/…" if parts.path.strip("/") or parts.query else ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{more}"


def retry_after_s(value: str | None) -> float | None:
    """The header `Retry-After` in seconds from now (RFC 9110, 10.2.3); None if there is none or it is unreadable."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _rpc_error(method: str, error: dict[str, Any]) -> RpcError | NodeUnreachableError:
    code, message, detail = error.get("code", 0), str(error.get("message", "")), error.get("data")
    wait_s = _backoff_s(detail)
    if isinstance(detail, dict):  # some nodes wrap it
        detail = detail.get("data")
    raw = data(detail) if isinstance(detail, str) and detail.startswith("0x") else b""
    lowered = message.lower()
    if method == "eth_getLogs" and any(words in lowered for words in _TOO_MANY_LOGS):
        return TooManyLogsError(method, code, message, raw)
    if code in _RATE_LIMIT_CODES or "rate limit" in lowered:
        return NodeBusyError(f"the node is busy: {message}", wait_s)
    return RpcError(method, code, message, raw)


def _backoff_s(detail: Any) -> float | None:
    """`data.rate.backoff_seconds`, as one large provider says it."""
    rate = detail.get("rate") if isinstance(detail, dict) else None
    wait_s = rate.get("backoff_seconds") if isinstance(rate, dict) else None
    return float(wait_s) if isinstance(wait_s, int | float) and 0 <= wait_s < 86_400 else None
