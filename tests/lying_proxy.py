"""
A real HTTP and WebSocket proxy in front of a node, that misbehaves on demand.

In a test:

    with lying(anvil) as proxy:
        proxy.do(status=429, retry_after_s=2)     # from now on
        proxy.behave()

By itself, for a driver in another process, which posts the same fields as JSON to `/misbehave`:

    python -m tests.lying_proxy --upstream 8545 --port 8600
    curl -d '{"old_blocks": 5, "share": 0.5}' http://127.0.0.1:8600/misbehave

Whatever is not misbehaviour is passed on byte for byte. `share` is the part of the requests that misbehave.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import http.server
import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from oracle import anvil
from oracle.crypto.hashing import keccak256

_TAGS = ("latest", "pending", "safe", "finalized")
_MAX_BODY = 64 << 20


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """What the proxy does instead of passing on. Several fields at once are all done."""

    delay_s: float = 0.0  # before it answers
    hangs: bool = False  # it never answers
    drops: bool = False  # it closes the connection without an answer
    status: int = 0  # HTTP status instead of an answer
    retry_after_s: float | None = None  # with `status`
    error_code: int = 0  # JSON-RPC error instead of each result
    garbage: bool = False  # a web page instead of an answer
    endless: bool = False  # an answer without end
    old_blocks: int = 0  # it does not know the newest blocks: heads, blocks, logs, receipts, nonces
    truncates: bool = False  # the second half of each list of logs is missing
    head_ahead: int = 0  # `latest` has a number too high
    false_hashes: bool = False  # every block has a hash that it made up
    nonce_ahead: int = 0  # transaction counts are too high
    loses_transactions: bool = False  # it acknowledges what is sent and forgets it
    silent_ws: bool = False  # subscriptions stay open and say nothing
    no_ws: bool = False  # no new WebSocket connections
    share: float = 1.0  # of the requests
    methods: tuple[str, ...] = ()  # only these; none: all


class LyingProxy:
    """Runs in threads of this process, on a port of its own."""

    def __init__(self, upstream_port: int, port: int = 0) -> None:
        self.upstream_port = upstream_port
        self.now = Misbehaviour()
        self.asked: list[str] = []  # methods, in order
        self.refused = 0  # answers that misbehaved
        self._tunnels: set[socket.socket] = set()
        self._stopped = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def rpc_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def do(self, **changes: Any) -> None:
        """Misbehave in this way, and in no other."""
        if "methods" in changes:
            changes["methods"] = tuple(changes["methods"])
        self.now = replace(Misbehaviour(), **changes)

    def behave(self) -> None:
        """Pass everything on."""
        self.now = Misbehaviour()

    def drop_subscriptions(self) -> int:
        """Close every WebSocket now. Returns how many."""
        tunnels = list(self._tunnels)
        for tunnel in tunnels:
            with contextlib.suppress(OSError):
                tunnel.shutdown(socket.SHUT_RDWR)
        return len(tunnels) // 2

    @property
    def subscriptions(self) -> int:
        """How many WebSockets are open."""
        return len(self._tunnels) // 2

    def close(self) -> None:
        self._stopped.set()
        self.drop_subscriptions()
        self._server.shutdown()
        self._server.server_close()

    # -- what the handler uses -----------------------------------------------------------------------------------------

    def chosen(self, methods: list[str]) -> Misbehaviour:
        """What to do with a request for these methods."""
        now = self.now
        if now.methods and not set(now.methods) & set(methods):
            return Misbehaviour()
        if now.share < 1 and random.random() >= now.share:
            return Misbehaviour()
        if now != Misbehaviour():
            self.refused += 1
        return now

    def ask(self, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The upstream's answers, in order."""
        body = self.pass_on(json.dumps(calls).encode())
        by_id = {answer["id"]: answer for answer in json.loads(body)}
        return [by_id[call["id"]] for call in calls]

    def pass_on(self, body: bytes) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=60)
        try:
            connection.request("POST", "/", body, {"content-type": "application/json"})
            return connection.getresponse().read()
        finally:
            connection.close()

    def hang(self) -> None:
        self._stopped.wait(120)

    def lie(self, calls: list[dict[str, Any]], what: Misbehaviour) -> list[dict[str, Any]]:
        """Answers to `calls`, bent."""
        if what.loses_transactions:
            answers = [_forgotten(call) for call in calls]
            kept = [call for call, answer in zip(calls, answers, strict=True) if answer is None]
            passed = iter(self._bent(kept, what)) if kept else iter(())
            return [next(passed) if answer is None else answer for answer in answers]
        return self._bent(calls, what)

    def _bent(self, calls: list[dict[str, Any]], what: Misbehaviour) -> list[dict[str, Any]]:
        if what.error_code:
            error = {"code": what.error_code, "message": "the proxy refuses"}
            return [{"jsonrpc": "2.0", "id": call["id"], "error": error} for call in calls]
        limit: int | None = None
        if what.old_blocks:
            height = self.ask([_call("eth_blockNumber")])[0]["result"]
            limit = max(0, int(height, 16) - what.old_blocks)
            calls = [_in_the_past(call, limit) for call in calls]
        answers = self.ask(calls)
        for call, answer in zip(calls, answers, strict=True):
            if "result" in answer:
                answer["result"] = _bend(call, answer["result"], what, limit)
        return answers


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients hang up on a liar."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    owner: LyingProxy

    def do_POST(self) -> None:
        body = self.rfile.read(min(_MAX_BODY, int(self.headers["content-length"])))
        if self.path == "/misbehave":
            self._control(json.loads(body))
            return
        document = json.loads(body)
        calls = document if isinstance(document, list) else [document]
        methods = [call["method"] for call in calls]
        self.owner.asked.extend(methods)
        what = self.owner.chosen(methods)
        if what.hangs:
            self.owner.hang()
        if what.hangs or what.drops:
            self.close_connection = True
            self.connection.close()
            return
        if what.delay_s:
            self.owner._stopped.wait(what.delay_s)
        if what.status:
            extra = {} if what.retry_after_s is None else {"retry-after": f"{what.retry_after_s:g}"}
            self._answer(b"busy", what.status, **extra)
        elif what.garbage:
            self._answer(b"<html>our portal</html>")
        elif what.endless:
            self._endless()
        elif replace(what, delay_s=0, share=1, methods=(), silent_ws=False, no_ws=False) == Misbehaviour():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._answer(self.owner.pass_on(body))
                return
            self.close_connection = True
        else:
            answers = self.owner.lie(calls, what)
            self._answer(json.dumps(answers if isinstance(document, list) else answers[0]).encode())

    def do_GET(self) -> None:
        """A WebSocket: tunnelled as it is."""
        if self.owner.now.no_ws or "websocket" not in self.headers.get("upgrade", "").lower():
            self._answer(b"no", 503)
            return
        head = f"GET / HTTP/1.1\r\n{self.headers}".replace("\n", "\r\n").replace("\r\r\n", "\r\n")
        upstream = socket.create_connection(("127.0.0.1", self.owner.upstream_port))
        upstream.sendall(head.encode())
        ends = (self.connection, upstream)
        self.owner._tunnels.update(ends)
        back = threading.Thread(target=self._pump, args=(upstream, self.connection, True), daemon=True)
        back.start()
        self._pump(self.connection, upstream, False)
        back.join(5)
        self.owner._tunnels.difference_update(ends)
        upstream.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    def _pump(self, source: socket.socket, target: socket.socket, may_be_silent: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65_536):
                if not (may_be_silent and self.owner.now.silent_ws):
                    target.sendall(chunk)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while not self.owner._stopped.wait(0.05):
                self.wfile.write(b" " * 1_000)

    def _control(self, document: dict[str, Any]) -> None:
        if document.pop("drop_subscriptions", False):
            self.owner.drop_subscriptions()
        known = {field.name for field in fields(Misbehaviour)}
        if document.keys() - known:
            self._answer(f"known are {', '.join(sorted(known))}".encode(), 400)
            return
        self.owner.do(**document)
        self._answer(json.dumps(asdict(self.owner.now)).encode())


def _call(method: str, *params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}


def _forgotten(call: dict[str, Any]) -> dict[str, Any] | None:
    if call["method"] != "eth_sendRawTransaction":
        return None
    raw = bytes.fromhex(call["params"][0].removeprefix("0x"))
    return {"jsonrpc": "2.0", "id": call["id"], "result": "0x" + keccak256(raw).hex()}


def _in_the_past(call: dict[str, Any], limit: int) -> dict[str, Any]:
    """The call as a node would understand it whose newest block is `limit`."""
    params = [hex(limit) if isinstance(p, str) and p in _TAGS else p for p in call["params"]]
    if call["method"] == "eth_getLogs" and "blockHash" not in params[0]:
        span = dict(params[0])
        for end in ("fromBlock", "toBlock"):
            value = span.get(end, "latest")
            span[end] = hex(limit if value in _TAGS else min(limit, int(value, 16)))
        params = [span]
    return {**call, "params": params}


def _bend(call: dict[str, Any], result: Any, what: Misbehaviour, limit: int | None) -> Any:
    method = call["method"]
    if method == "eth_blockNumber":
        return hex((int(result, 16) if limit is None else limit) + what.head_ahead)
    if method == "eth_getTransactionCount":
        return hex(int(result, 16) + what.nonce_ahead)
    if method == "eth_getLogs" and isinstance(result, list):
        kept = result if limit is None else [log for log in result if int(log["blockNumber"], 16) <= limit]
        return kept[: len(kept) // 2] if what.truncates else kept
    return _bend_block(call, result, what, limit) if isinstance(result, dict) else result


def _bend_block(call: dict[str, Any], result: dict[str, Any], what: Misbehaviour, limit: int | None) -> Any:
    """A block, or something that says in which block it is."""
    number = result.get("number", result.get("blockNumber"))
    if number is None or (limit is not None and int(number, 16) > limit):
        return result if number is None else None
    if call["method"] != "eth_getBlockByNumber":
        return result
    ahead = what.head_ahead if call["params"][0] == "latest" else 0
    made_up = {"hash": "0x" + keccak256(bytes.fromhex(result["hash"][2:])).hex()} if what.false_hashes else {}
    return {**result, "number": hex(int(number, 16) + ahead), **made_up}


@contextmanager
def lying(node: anvil.Anvil) -> Iterator[LyingProxy]:
    """A proxy in front of `node`."""
    proxy = LyingProxy(node.port)
    try:
        yield proxy
    finally:
        proxy.close()


def main() -> None:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(description="A proxy that misbehaves on demand; see the module's docstring.")
    parser.add_argument("--upstream", type=int, required=True, help="port of the node on this machine")
    parser.add_argument("--port", type=int, default=0, help="to listen on; 0: a free one")
    arguments = parser.parse_args()
    proxy = LyingProxy(arguments.upstream, arguments.port)
    print(f"listening on {proxy.rpc_url}", flush=True)  # noqa: T201  # for whoever started it
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    proxy.close()


if __name__ == "__main__":
    main()
