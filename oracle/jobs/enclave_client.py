"""
Speak to one enclave over its socket.

One connection per client, made when needed and again after any failure; a client is for one thread. Whatever the
enclave sends is parsed strictly; what it claims is checked by the caller. Every wait has an end.
"""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path
from typing import TypeVar

from oracle.enclave.protocol import (
    Attest,
    BatchSignature,
    Carried,
    Carry,
    Content,
    Describe,
    Description,
    Dial,
    Dialled,
    EnclaveMessage,
    ErrorReply,
    Execute,
    HangUp,
    HostMessage,
    Need,
    Quote,
    ReceiptReply,
    SignBatch,
    SignedReceipt,
    encode,
    parse_enclave_message,
    read_frame,
    write_frame,
)
from oracle.errors import ContentUnavailableError, EnclaveError, InvalidInputError, RetryableError
from oracle.jobs.dialer import Dialer
from oracle.jobs.ports import FindContent
from oracle.types.ids import Address

_CONNECT_RETRY_S = 0.05
_MAX_QUESTIONS = 65_536  # per request, so that an enclave cannot keep us busy for ever


_Reply = TypeVar("_Reply", Description, Quote, ReceiptReply, BatchSignature)


class EnclaveUnreachableError(RetryableError):
    """Nobody listens, the connection broke, or the answer did not come in time."""


class EnclaveClient:
    """One enclave. Satisfies `oracle.jobs.ports.Enclave`."""

    def __init__(
        self,
        path: Path,
        *,
        reply_timeout_s: float = 60.0,
        connect_within_s: float = 10.0,
        dialer: Dialer | None = None,
    ) -> None:
        """Without a `dialer`, programs reach nobody."""
        self._path = path
        self._dialer = dialer or Dialer(is_on=False)
        self._reply_timeout_s = reply_timeout_s
        self._connect_within_s = connect_within_s
        self._connection: socket.socket | None = None
        self._ahead: HostMessage | None = None  # sent already; its answer was not read yet

    def describe(self) -> Description:
        """Its keys and what it can do."""
        return self._expect(Description, self._ask(Describe()))

    def attest(self, chain_id: int, registry: Address, operator: Address, anchor_block_hash: bytes) -> bytes:
        """A quote that registers its keys."""
        return self._expect(Quote, self._ask(Attest(chain_id, registry, operator, anchor_block_hash))).quote

    def sign_batch(self, chain_id: int, coprocessor: Address, receipts: tuple[SignedReceipt, ...]) -> BatchSignature:
        """One signature over several receipts of its own."""
        return self._expect(BatchSignature, self._ask(SignBatch(chain_id, coprocessor, receipts)))

    def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
        """
        A signed receipt; the caller must check that it is for this request and by this enclave.

        The enclave begins with `then` while the caller does that: what is executed next, given as the same object.

        Raises:
            EnclaveUnreachableError: no answer; nothing is known about the request.
            ContentUnavailableError: the enclave needs content that `find` does not have.
            EnclaveError: the enclave refuses.
        """
        reply = self._ask(message)
        missing: bytes | None = None
        try:
            for _ in range(_MAX_QUESTIONS):
                match reply:
                    case Need(wanted):
                        content = self._found(wanted, find)
                        missing = wanted if content is None else missing
                        reply = self._ask(Content(wanted, content))
                    case Dial(host, port, wait_ms):
                        reply = self._ask(Dialled(self._dialer.dial(host, port, wait_ms)))
                    case Carry(data, wait_ms):
                        reply = self._ask(Carried(*self._dialer.carry(data, wait_ms)))
                    case HangUp():
                        self._dialer.hang_up()
                        reply = self._ask(Carried(b"", is_open=False))
                    case _:
                        break
        finally:
            self._dialer.hang_up()
        if then is not None:
            self._send_ahead(then)
        if isinstance(reply, ErrorReply) and reply.code == "content_unavailable" and missing is not None:
            raise ContentUnavailableError(missing)
        return self._expect(ReceiptReply, reply)

    def close(self) -> None:
        """Drop the connection. The next question makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._ahead = None

    def _found(self, wanted: bytes, find: FindContent) -> bytes | None:
        try:
            return find(wanted)
        except BaseException:
            self.close()  # the enclave still waits for content
            raise

    def _expect(self, kind: type[_Reply], reply: EnclaveMessage) -> _Reply:
        if isinstance(reply, ErrorReply):
            raise EnclaveError(reply.code, reply.message)
        if not isinstance(reply, kind):
            self.close()
            raise EnclaveError("bad_reply", f"the enclave answered with {type(reply).__name__}, not {kind.__name__}")
        return reply

    def _ask(self, message: HostMessage) -> EnclaveMessage:
        """One message out, unless it is out already, and one in."""
        if self._ahead is not None and self._ahead is not message:
            self.close()  # nobody will read that answer
        connection = self._connected()
        try:
            if self._ahead is None:
                write_frame(connection, encode(message))
            self._ahead = None
            return parse_enclave_message(read_frame(connection))
        except (OSError, EOFError) as error:
            self.close()
            raise EnclaveUnreachableError(f"the enclave at {self._path} went away: {error or 'closed'}") from error
        except InvalidInputError as error:
            self.close()
            raise EnclaveError(
                "bad_reply", f"the enclave at {self._path} does not speak our protocol: {error}"
            ) from error

    def _send_ahead(self, message: HostMessage) -> None:
        if self._connection is None:
            return
        try:
            write_frame(self._connection, encode(message))
            self._ahead = message
        except OSError:
            self.close()  # it is sent again, and fails, in its turn

    def _connected(self) -> socket.socket:
        if self._connection is not None and (self._ahead is not None or not _is_stale(self._connection)):
            return self._connection
        self.close()
        deadline = time.monotonic() + self._connect_within_s
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._path))
            except OSError as error:
                connection.close()
                if time.monotonic() >= deadline:
                    raise EnclaveUnreachableError(
                        f"no enclave listens at {self._path} ({error.strerror or error}): start `adyton enclave`"
                    ) from error
                time.sleep(_CONNECT_RETRY_S)
                continue
            connection.settimeout(self._reply_timeout_s)
            self._connection = connection
            return connection


def _is_stale(connection: socket.socket) -> bool:
    """Between questions an enclave says nothing: if there is something to read, it is the end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))
