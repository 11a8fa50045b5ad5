"""
One HTTP/1.1 request and its response, by h11, over a stream that is already verified.

- One request per connection, which the response ends; nothing of one exchange reaches another.
- A response is whole or it is no response: cut off, over a cap, or not HTTP, and the fetch fails.
- The body is what the server sent: no compression is asked for, and none is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import h11

from oracle.enclave.web.pipe import Budget, FetchFailedError
from oracle.enclave.web.tls import TlsStream
from oracle.types.web import Url

Headers = tuple[tuple[str, str], ...]

MAX_HEAD_BYTES: Final = 16 << 10
_OWN_HEADERS: Final = (("accept-encoding", "identity"), ("connection", "close"))


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent; the headers are the program's, with names in lower case."""

    method: str
    url: Url
    headers: Headers = ()
    body: bytes = b""

    def encode(self) -> tuple[h11.Connection, bytes]:
        """The bytes, and what reads the response to them."""
        given = {name for name, _ in self.headers}
        headers = [("host", str(self.url.origin)), *self.headers, *_OWN_HEADERS]
        headers += [(name, value) for name, value in (("accept", "*/*"), ("user-agent", "adyton")) if name not in given]
        if self.body or self.method not in ("GET", "HEAD"):
            headers.append(("content-length", str(len(self.body))))
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        events: Sequence[h11.Event] = (
            h11.Request(method=self.method, target=self.url.target, headers=headers),
            h11.Data(data=self.body),
            h11.EndOfMessage(),
        )
        return connection, b"".join(connection.send(event) or b"" for event in events)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back."""

    url: Url
    status: int
    reason: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of this name, if there is one."""
        return next((value for key, value in self.headers if key == name), None)


def exchange(stream: TlsStream, request: Request, budget: Budget) -> Response:
    """
    Send `request` and wait for all of its response.

    Raises:
        FetchFailedError: there is none that counts.
    """
    try:
        connection, data = request.encode()
        budget.take_bytes(len(data))
        stream.write(data)
        return _read(connection, stream, request.url, budget)
    except h11.ProtocolError as error:
        raise FetchFailedError("the server does not speak HTTP as it should", str(error)) from error


def _read(connection: h11.Connection, stream: TlsStream, url: Url, budget: Budget) -> Response:
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = stream.read()
            budget.take_bytes(len(data))
            connection.receive_data(data)
        elif isinstance(event, h11.InformationalResponse):
            continue
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _response(url, head, bytes(body))
        else:
            raise FetchFailedError("the server ended the exchange in the middle")


def _response(url: Url, head: h11.Response, body: bytes) -> Response:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
    response = Response(url, head.status_code, head.reason.decode("latin-1"), headers, body)
    if (response.header("content-encoding") or "identity").lower() != "identity":
        raise FetchFailedError("the server compressed what was to be sent as it is")
    return response
