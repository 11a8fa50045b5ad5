"""
JSON-RPC to one node over HTTP: bounded in time and size, with typed errors, and nothing else.

What may be tried again raises `RetryableError`; an answer that means no raises `ChainError`. Safe to share between
threads.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import httpx

from oracle.chain.errors import NodeUnreachableError, NotANodeError, RpcError, TooManyLogsError
from oracle.errors import ChainMismatchError

MAX_RESPONSE_BYTES = 128 << 20
_BUSY = (429, 500, 502, 503, 504)
_TOO_MANY_LOGS = ("limit exceeded", "too many", "more than", "block range", "response size", "query returned")

Call = tuple[str, Sequence[Any]]


class Rpc:
    """One node. `call` and `batch` are a round trip each."""

    def __init__(self, url: str, timeout_s: float = 10.0, max_response_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self.url = url
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
                f"the node at {self.url} serves chain {actual}, not {chain_id}: correct rpc_url or chain_id"
            )

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
            raise NotANodeError(f"what answers at {self.url} does not speak Ethereum JSON-RPC: check rpc_url")
        return [by_id[number] for number in ids]

    def _post(self, body: bytes) -> Any:
        received = bytearray()
        try:
            with self._client.stream("POST", "", content=body) as response:
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > self._max_response_bytes:
                        raise TooManyLogsError("response", -32005, f"over {self._max_response_bytes} bytes")
        except httpx.TimeoutException as error:
            raise NodeUnreachableError(f"the node at {self.url} did not answer in time") from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise NotANodeError(f"rpc_url {self.url!r} is not an http URL: {error}") from error
        except httpx.HTTPError as error:
            raise NodeUnreachableError(f"cannot reach a node at {self.url}: {error or type(error).__name__}") from error
        try:
            return json.loads(received)
        except ValueError as error:
            if response.status_code in _BUSY:
                raise NodeUnreachableError(f"the node at {self.url} answers HTTP {response.status_code}") from error
            raise NotANodeError(
                f"what answers at {self.url} does not speak Ethereum JSON-RPC (HTTP {response.status_code}): "
                "check rpc_url"
            ) from error


def quantity(value: Any) -> int:
    """A JSON-RPC quantity."""
    try:
        return int(value, 16)
    except (TypeError, ValueError) as error:
        raise NotANodeError(f"the node gave {value!r:.60} where a number belongs") from error


def data(value: Any) -> bytes:
    """JSON-RPC data."""
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise NotANodeError(f"the node gave {value!r:.60} where bytes belong") from error


def _rpc_error(method: str, error: dict[str, Any]) -> RpcError | NodeUnreachableError:
    code, message, detail = error.get("code", 0), str(error.get("message", "")), error.get("data")
    if isinstance(detail, dict):  # some nodes wrap it
        detail = detail.get("data")
    raw = data(detail) if isinstance(detail, str) and detail.startswith("0x") else b""
    lowered = message.lower()
    if method == "eth_getLogs" and any(words in lowered for words in _TOO_MANY_LOGS):
        return TooManyLogsError(method, code, message, raw)
    if code == -32005 or "rate limit" in lowered:
        return NodeUnreachableError(f"the node is busy: {message}")
    return RpcError(method, code, message, raw)
