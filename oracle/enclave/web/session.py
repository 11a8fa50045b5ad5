"""
What one run fetches: permission, redirects, caps, fuel, and the transcript that its receipt commits to.

Of each hop, redirects included:
1. its origin and method must be in the manifest, and a call must be left; otherwise nothing is sent;
2. fuel is charged for the call and the bytes to send;
3. the server is verified by TLS, at a time within the request's createdAt and deadline, and answers in full;
4. the hop is in the transcript, whatever came of it;
5. fuel is charged for the bytes that came.

What fails is told to the program as a failed fetch and ends nothing by itself. That a fetch failed proves nothing
about the server: the host can always make it fail.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from oracle.crypto.hashing import keccak256
from oracle.enclave.web.exchange import Request, Response, exchange
from oracle.enclave.web.heads import Wanted, encode_failure, encode_response, parse_wanted
from oracle.enclave.web.pipe import Budget, FetchFailedError, Pipe
from oracle.enclave.web.tls import TlsStream
from oracle.errors import EncodingError
from oracle.types.request import Request as ComputeRequest
from oracle.types.transcript import NO_HASH, Fetched
from oracle.types.web import FetchTerms, Url

FETCH_FUEL: Final = 20_000_000  # about 6 ms of the enclave: a handshake, two chains of certificates
FETCH_FUEL_PER_BYTE: Final = 64
MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SEE_OTHER: Final = 303
_KEEPS_METHOD: Final = frozenset({307, 308})
_OF_THE_BODY: Final = frozenset({"content-encoding", "content-language", "content-location", "content-type"})
_OF_THE_ORIGIN: Final = frozenset({"authorization", "cookie"})

Charge = Callable[[int], None]
Log = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the program gets: a head as `heads` writes it; a status of 0 is a failure, whose reason is the body."""

    status: int
    head: bytes
    body: bytes


class Session:
    """One run's. Not for concurrent use."""

    def __init__(self, context: ssl.SSLContext, terms: FetchTerms, pipe: Pipe, request: ComputeRequest) -> None:
        self._context = context
        self._terms = terms
        self._pipe = pipe
        self._request = request
        self._budget = Budget(terms)
        self.transcript: list[Fetched] = []

    def fetch(self, head: bytes, body: bytes, charge: Charge, log: Log) -> Answer:
        """
        The answer to what a program wants.

        Raises:
            StoppedError: by `charge`.
            HostError, OSError: the channel to the host failed.
        """
        before = len(self.transcript)
        try:
            response = self._follow(parse_wanted(head, body), charge)
        except FetchFailedError as error:
            if error.detail:
                log(f"fetch failed: {error}: {error.detail}".encode("utf-8", "replace"))
            return Answer(0, encode_failure(error), str(error).encode("utf-8", "replace"))
        hops = len(self.transcript) - before
        return Answer(response.status, encode_response(response, redirected=hops > 1), response.body)

    def _follow(self, wanted: Wanted, charge: Charge) -> Response:
        request = wanted.request
        for _ in range(MAX_REDIRECTS + 1):
            response = self._hop(request, charge)
            location = response.header("location")
            if response.status not in _REDIRECTS or location is None or wanted.redirect == "manual":
                return response
            if wanted.redirect == "error":
                raise FetchFailedError(f"{request.url} redirects")
            try:
                request = redirected(request, response.status, request.url.joined(location))
            except EncodingError as error:
                raise FetchFailedError(f"redirected to where no program may go: {error}") from error
        raise FetchFailedError(f"more than {MAX_REDIRECTS} redirects")

    def _hop(self, request: Request, charge: Charge) -> Response:
        if str(request.url.origin) not in self._terms.hosts or request.method not in self._terms.methods:  # 1
            raise FetchFailedError(f"the manifest does not allow {request.method} {request.url.origin}")
        if len(request.body) > self._terms.bytes:
            raise FetchFailedError(f"more than the {self._terms.bytes} bytes that the manifest allows")
        self._budget.take_call()
        charge(FETCH_FUEL + FETCH_FUEL_PER_BYTE * len(request.body))  # 2
        at_s = min(max(int(time.time()), self._request.created_at_s), self._request.deadline_s)
        tried = Fetched(str(request.url), request.method, keccak256(request.body), 0, NO_HASH, NO_HASH, at_s)
        try:
            with self._budget.running():
                stream = TlsStream(self._context, self._pipe, self._budget, request.url.origin, at_s)  # 3
                response = exchange(stream, request, self._budget)
                self._pipe.hang_up()
        except FetchFailedError:
            self.transcript.append(tried)  # 4
            raise
        body_hash, certificate_hash = keccak256(response.body), stream.certificate_hash
        self.transcript.append(
            replace(tried, status=response.status, body_hash=body_hash, certificate_hash=certificate_hash)
        )  # 4
        charge(FETCH_FUEL_PER_BYTE * len(response.body))  # 5
        return response


def redirected(request: Request, status: int, to: Url) -> Request:
    """What follows a redirect, as the Fetch standard has it: a POST may become a GET; secrets stay at their origin."""
    method, body, headers = request.method, request.body, request.headers
    if status not in _KEEPS_METHOD and (method == "POST" or (status == _SEE_OTHER and method != "HEAD")):
        method, body = "GET", b""
        headers = tuple((name, value) for name, value in headers if name not in _OF_THE_BODY)
    if to.origin != request.url.origin:
        headers = tuple((name, value) for name, value in headers if name not in _OF_THE_ORIGIN)
    return Request(method, to, headers, body)
