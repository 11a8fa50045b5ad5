"""
How programs say what to fetch and read what came: text, the same for both engines.

    to fetch    METHOD URL REDIRECT          REDIRECT is follow, error or manual
                name: value                  and so on, any number of lines
    response    STATUS REDIRECTED SIZE URL   REDIRECTED is 0 or 1; SIZE is the body's; the URL is the last one's
                reason phrase                may be empty
                name: value
    failure     0
                why
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from oracle.enclave.web.exchange import Headers, Request, Response
from oracle.enclave.web.pipe import FetchFailedError
from oracle.errors import EncodingError
from oracle.types.web import METHODS, Url

MAX_REQUEST_HEAD_BYTES: Final = 16 << 10
REDIRECT_MODES: Final = ("follow", "error", "manual")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[\t -~]*")
_FORBIDDEN = frozenset(  # the enclave's own, or about the connection
    [
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_FORBIDDEN_PREFIXES = ("proxy-", "sec-")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a program wants fetched."""

    request: Request
    redirect: str


def parse_wanted(head: bytes, body: bytes) -> Wanted:
    """
    Read a program's text.

    Raises:
        FetchFailedError: it is not as it should be; the reason says what.
    """
    if len(head) > MAX_REQUEST_HEAD_BYTES:
        raise FetchFailedError(
            f"the request's head has {len(head)} bytes, at most {MAX_REQUEST_HEAD_BYTES} are allowed"
        )
    first, *lines = head.decode("utf-8", "replace").split("\n")
    words = first.split(" ")
    if len(words) != 3 or words[0] not in METHODS or words[2] not in REDIRECT_MODES:
        raise FetchFailedError(f"{first!r:.80} is not METHOD URL REDIRECT")
    if body and words[0] in ("GET", "HEAD"):
        raise FetchFailedError(f"a {words[0]} has no body")
    try:
        url = Url.parse(words[1])
    except EncodingError as error:
        raise FetchFailedError(str(error)) from error
    return Wanted(Request(words[0], url, tuple(_header(line) for line in lines if line), body), words[2])


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    name, value = name.lower(), value.strip()
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise FetchFailedError(f"{line!r:.60} is no header of printable ASCII")
    if name in _FORBIDDEN or name.startswith(_FORBIDDEN_PREFIXES):
        raise FetchFailedError(f"the header {name!r} is not a program's to set")
    return name, value


def encode_response(response: Response, *, redirected: bool) -> bytes:
    """What a program reads."""
    lines = [
        f"{response.status} {int(redirected)} {len(response.body)} {response.url}",
        response.reason,
        *_lines(response.headers),
    ]
    return "\n".join(lines).encode()


def encode_failure(error: FetchFailedError) -> bytes:
    """What a program reads instead."""
    return f"0\n{error}".encode("utf-8", "replace")


def _lines(headers: Headers) -> list[str]:
    return [f"{name}: {value}" for name, value in headers]
