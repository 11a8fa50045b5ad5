"""
Where a program may go on the web: origins, URLs, and the `fetch` section of a manifest.

Only `https` exists here, only hosts named by DNS (an IP literal, in any of its spellings, is no host name), and a URL
has one spelling: what is read is what is sent and what a receipt commits to. Reading is strict and never guesses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self
from urllib.parse import urljoin

from oracle.errors import EncodingError

HTTPS_PORT: Final = 443
METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
MAX_HOSTS: Final = 32
MAX_CALLS: Final = 32
MAX_BYTES: Final = 8 << 20
MAX_TIME_MS: Final = 30_000
MAX_URL_BYTES: Final = 2_048
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?")  # the last label is no number: no IP literal
_URL = re.compile(r"https://([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?((?:[/?][^#]*)?)(?:#.*)?")
_TARGET = re.compile(r"[!#-;=?-\[\]_a-z~]*")  # printable ASCII without " < > \ ^ ` { | }


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """A host and port. As text without the port if that is 443."""

    host: str
    port: int = HTTPS_PORT

    def __post_init__(self) -> None:
        """Refuse what is no DNS name of at least two labels, and ports of other services than the web's."""
        if len(self.host) > 253 or not _HOST.fullmatch(self.host):
            raise EncodingError(
                f"{self.host!r:.80} is no DNS host name (lower case, two labels or more, no IP address)"
            )
        if self.port != HTTPS_PORT and not 1_024 <= self.port <= 65_535:
            raise EncodingError(f"port {self.port} is not open to programs: 443, or 1024 and above")

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read `host` or `host:port`, the only spelling of each origin.

        Raises:
            EncodingError: it is neither.
        """
        host, colon, digits = text.partition(":")
        if colon and (not re.fullmatch(r"[1-9][0-9]{0,4}", digits) or int(digits) == HTTPS_PORT):
            raise EncodingError(f"{text!r:.80} is not an origin: write host, or host:port if the port is not 443")
        return cls(host, int(digits) if colon else HTTPS_PORT)

    def __str__(self) -> str:
        """As `parse` reads it."""
        return self.host if self.port == HTTPS_PORT else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Url:
    """An `https` URL without user, password and fragment."""

    origin: Origin
    target: str  # path and query, as in the request line

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read a URL. Its fragment is dropped, its host lower-cased; nothing else is changed.

        Raises:
            EncodingError: not such a URL.
        """
        if len(text) > MAX_URL_BYTES:
            raise EncodingError(f"a URL has at most {MAX_URL_BYTES} bytes, not {len(text)}")
        match = _URL.fullmatch(text)
        if match is None or not _TARGET.fullmatch(match[3]):
            raise EncodingError(f"{text!r:.100} is no https URL of a host name, in printable ASCII")
        origin = Origin(match[1].lower(), int(match[2]) if match[2] else HTTPS_PORT)
        return cls(origin, match[3] if match[3].startswith("/") else "/" + match[3])

    def joined(self, reference: str) -> Url:
        """
        What a `Location` seen at this URL means.

        Raises:
            EncodingError: not a URL that this type has.
        """
        if not re.fullmatch(r"[!-~]+", reference) or len(reference) > MAX_URL_BYTES:
            raise EncodingError("a redirect names a place that is no URL")
        try:
            return Url.parse(urljoin(str(self), reference))
        except ValueError as error:  # of urllib, about brackets
            raise EncodingError("a redirect names a place that is no URL") from error

    def __str__(self) -> str:
        """The one spelling."""
        return f"https://{self.origin}{self.target}"


@dataclass(frozen=True, slots=True)
class FetchTerms:
    """What a manifest lets its program fetch; the caps are for all calls of one run together."""

    hosts: tuple[str, ...]  # origins
    methods: tuple[str, ...] = ("GET",)
    calls: int = 8  # requests sent, each redirect being another
    bytes: int = 1 << 20  # of HTTP in both directions, inside TLS
    time_ms: int = 10_000  # from asking for connections to the last byte

    def encode(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**asdict(self), "hosts": sorted(self.hosts), "methods": sorted(self.methods)}

    @classmethod
    def parse(cls, document: object) -> Self:
        """
        Read a manifest's `fetch`.

        Raises:
            EncodingError: a key unknown or missing, a value of the wrong type or out of range, an entry twice.
        """
        if not isinstance(document, Mapping):
            raise EncodingError("fetch must be an object")
        names = {field.name for field in fields(cls)}
        if document.keys() != names:
            wrong = ", ".join(sorted(document.keys() ^ names))[:200]
            raise EncodingError(f"fetch: unknown or missing keys: {wrong}")
        hosts, methods = _strings(document, "hosts", MAX_HOSTS), _strings(document, "methods", len(METHODS))
        for host in hosts:
            Origin.parse(host)
        if not set(methods) <= set(METHODS):
            raise EncodingError(f"fetch.methods are a list out of {', '.join(METHODS)}")
        caps = {"calls": MAX_CALLS, "bytes": MAX_BYTES, "time_ms": MAX_TIME_MS}
        for name, cap in caps.items():
            if type(document[name]) is not int or not 1 <= document[name] <= cap:
                raise EncodingError(f"fetch.{name} must be an integer from 1 to {cap}, not {document[name]!r:.40}")
        return cls(hosts, methods, *(document[name] for name in caps))


def _strings(document: Mapping[str, Any], name: str, most: int) -> tuple[str, ...]:
    values = document[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise EncodingError(f"fetch.{name} must be a list of texts")
    if not 1 <= len(values) <= most or len(set(values)) != len(values):
        raise EncodingError(f"fetch.{name} has 1 to {most} entries, each once")
    return tuple(values)
