"""
TLS to a server at the other end of the host's pipe.

A stream is handed out only after all of this holds:
1. the handshake is complete, with TLS 1.2 or newer;
2. the server's certificate leads to one of the measured roots and is for the host name (OpenSSL, as `roots` set it up);
3. every certificate of that chain is valid at the time that the caller gives;
4. the server speaks HTTP/1.1, or did not say.

The enclave has no clock of its own, so the time of step 3 is the caller's word; `session` bounds it by the request.
Revocation is not checked. The end of a stream counts only if the server said so under its keys (`close_notify`).
"""

from __future__ import annotations

import ssl
from hashlib import sha256
from typing import Any

from cryptography.x509 import load_der_x509_certificate

from oracle.enclave.web.pipe import Budget, FetchFailedError, Pipe
from oracle.types.web import Origin

_DER = 2  # _ssl.ENCODING_DER
_READ_BYTES = 64 << 10


class TlsStream:
    """A verified server. Every method raises `FetchFailedError`, or what a `Pipe` does."""

    def __init__(self, context: ssl.SSLContext, pipe: Pipe, budget: Budget, origin: Origin, at_s: int) -> None:
        """Connect and verify; `at_s` is the time for which certificates have to be valid."""
        self._pipe = pipe
        self._budget = budget
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._pipe_bytes = budget.pipe_bytes
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=origin.host)
        refusal = pipe.dial(origin.host, origin.port, budget.left_ms())
        if refusal:
            raise FetchFailedError(f"no connection to {origin}", refusal)
        self._handshake()  # 1, 2
        self.certificate_hash = self._check_validity(at_s)  # 3
        if self._tls.selected_alpn_protocol() not in (None, "http/1.1"):  # 4
            raise FetchFailedError(f"{origin} does not speak HTTP/1.1")

    def write(self, data: bytes) -> None:
        """Send; it leaves with the next read."""
        self._tls.write(data)

    def read(self) -> bytes:
        """Some bytes, or none if the server ended the stream."""
        while True:
            try:
                return self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                self._turn()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError as error:
                raise FetchFailedError("the connection was cut off") from error
            except ssl.SSLError as error:
                raise FetchFailedError(f"the connection was tampered with: {error.reason or 'TLS'}") from error

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._turn()
            except ssl.SSLCertVerificationError as error:
                raise FetchFailedError(
                    f"the server's certificate is not to be trusted: {error.verify_message}"
                ) from error
            except ssl.SSLEOFError as error:
                raise FetchFailedError("the connection was cut off in the handshake") from error
            except ssl.SSLError as error:
                raise FetchFailedError(f"the handshake failed: {error.reason or 'TLS'}") from error
            else:
                return

    def _check_validity(self, at_s: int) -> bytes:
        """Step 3; the server's own certificate's hash."""
        chain = _verified_chain(self._tls)
        for der in chain:
            certificate = load_der_x509_certificate(der)
            first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            if not first.timestamp() <= at_s <= last.timestamp():
                raise FetchFailedError("a certificate of the server is not valid now", f"from {first} to {last}")
        return sha256(chain[0]).digest()

    def _turn(self) -> None:
        """Give the pipe what TLS wants to say, and wait for what the server does."""
        data, is_open = self._pipe.carry(self._outgoing.read(), self._budget.left_ms())
        self._pipe_bytes -= len(data)
        if self._pipe_bytes < 0:
            raise FetchFailedError("more bytes came in than the manifest allows")
        if data:
            self._incoming.write(data)
        elif not is_open:
            self._incoming.write_eof()


def _verified_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The chain that was verified, the server's own certificate first, as DER. Public only from Python 3.13 on."""
    inner: Any = tls._sslobj  # type: ignore[attr-defined]  # noqa: SLF001
    return [certificate.public_bytes(_DER) for certificate in inner.get_verified_chain()]
