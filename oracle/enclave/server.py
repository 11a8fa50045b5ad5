"""
Serve the enclave's channel on a Unix socket with a fixed number of threads.

Each thread serves one connection at a time, so there are at most `MAX_CONNECTIONS`; more wait to be accepted.
Whatever a host sends, the enclave answers or closes that connection, and goes on.
"""

from __future__ import annotations

import logging
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from oracle.crypto.hashing import keccak256
from oracle.enclave.executor import Executor
from oracle.enclave.identity import Identity
from oracle.enclave.outcome import HostError
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
    encode,
    parse_host_message,
    read_frame,
    write_frame,
)
from oracle.enclave.web.pipe import Pipe
from oracle.errors import ConfigurationError, InvalidInputError
from oracle.types.ids import Address
from oracle.types.program import Engine, Limits
from oracle.types.receipt import Receipt
from oracle.types.transcript import context_of

MAX_CONNECTIONS: Final = 8
CONTENT_TIMEOUT_S: Final = 30.0
_PIPE_GRACE_S: Final = 10.0  # beyond what the host was told to wait
_MAX_SOCKET_PATH_BYTES = 107
_MAX_MESSAGE_CHARACTERS = 500
_logger = logging.getLogger("enclave")


class Enclave:
    """What the channel can ask for."""

    def __init__(self, identity: Identity, executor: Executor, ceilings: Limits) -> None:
        self._identity = identity
        self._executor = executor
        self._ceilings = ceilings

    def answer(self, message: HostMessage, ask: Callable[[bytes], bytes | None], pipe: Pipe) -> EnclaveMessage:
        """
        The answer to a message; `ask` gets contents from the host that sent it, `pipe` is that host's.

        Raises:
            HostError: there is none.
        """
        match message:
            case Describe():
                me, engines = self._identity, tuple(engine.name.lower() for engine in Engine)
                return Description(me.signer, me.sealing_key, me.measurement, me.quoter_name, engines, self._ceilings)
            case Attest(chain_id, registry, operator, anchor):
                return Quote(self._identity.quote(chain_id, registry, operator, anchor))
            case Execute():
                return self._execute(message, ask, pipe)
            case SignBatch(chain_id, coprocessor, signed):
                pairs = [(item.receipt, item.signature) for item in signed]
                return BatchSignature(self._identity.signer, self._identity.sign_batch(pairs, chain_id, coprocessor))
            case Content() | Dialled() | Carried():
                raise HostError("bad_message", "an answer to what was not asked")

    def _execute(self, order: Execute, ask: Callable[[bytes], bytes | None], pipe: Pipe) -> ReceiptReply:
        request = order.request
        request_id = request.request_id
        result = self._executor.execute(order, request_id, ask, pipe)
        output_hash, payee = keccak256(result.output), Address(order.payee)
        context = context_of(result.transcript)
        receipt = Receipt(request_id, result.outcome, output_hash, result.fuel_used, payee, context)
        signature = self._identity.sign(receipt, request.chain_id, request.coprocessor)
        return ReceiptReply(
            request_id=request_id,
            outcome=result.outcome,
            output=result.output,
            fuel_used=result.fuel_used,
            payee=payee,
            signer=self._identity.signer,
            signature=signature,
            logs=result.logs,
            transcript=result.transcript,
        )


class _Connection:
    """One host. As a `Pipe`, what carries bytes for the job that it asked for."""

    def __init__(self, stream: socket.socket, enclave: Enclave) -> None:
        self._stream = stream
        self._enclave = enclave

    def serve(self) -> None:
        """Answer until the host leaves or the stream is out of step."""
        while True:
            try:
                body = read_frame(self._stream)
            except InvalidInputError as error:
                self._send(ErrorReply("bad_message", str(error)[:_MAX_MESSAGE_CHARACTERS]))
                return
            self._send(self._answer(body))

    def _answer(self, body: bytes) -> EnclaveMessage:
        try:
            return self._enclave.answer(parse_host_message(body), self._ask, self)
        except InvalidInputError as error:
            return ErrorReply("bad_message", str(error)[:_MAX_MESSAGE_CHARACTERS])
        except HostError as error:
            return ErrorReply(error.code, str(error)[:_MAX_MESSAGE_CHARACTERS])
        except (OSError, EOFError):
            raise
        except Exception as error:
            _logger.exception("a request could not be served")
            return ErrorReply("internal", f"{type(error).__name__}: see the enclave's log")

    def _ask(self, content_hash: bytes) -> bytes | None:
        message = self._question(Need(content_hash), CONTENT_TIMEOUT_S)
        if not isinstance(message, Content) or message.hash != content_hash:
            raise HostError("bad_message", f"expected the content 0x{content_hash.hex()}")
        return message.data

    def dial(self, host: str, port: int, wait_ms: int) -> str:
        """As `Pipe.dial`."""
        message = self._question(Dial(host, port, wait_ms), wait_ms / 1_000 + _PIPE_GRACE_S)
        if not isinstance(message, Dialled):
            raise HostError("bad_message", f"expected to hear of the connection to {host}")
        return message.refusal

    def carry(self, data: bytes, wait_ms: int) -> tuple[bytes, bool]:
        """As `Pipe.carry`."""
        message = self._question(Carry(data, wait_ms), wait_ms / 1_000 + _PIPE_GRACE_S)
        if not isinstance(message, Carried):
            raise HostError("bad_message", "expected what the connection brought")
        return message.data, message.is_open

    def hang_up(self) -> None:
        """As `Pipe.hang_up`."""
        if not isinstance(self._question(HangUp(), _PIPE_GRACE_S), Carried):
            raise HostError("bad_message", "expected the end of the connection")

    def _question(self, question: EnclaveMessage, wait_s: float) -> HostMessage:
        """
        What the host says to a question of ours.

        Raises:
            OSError, EOFError: it says nothing, or what cannot be framed.
            InvalidInputError: it says what is no message.
        """
        self._stream.settimeout(wait_s)
        self._send(question)
        try:
            body = read_frame(self._stream)
            self._stream.settimeout(None)
        except InvalidInputError as error:
            raise ConnectionError("the stream is out of step") from error
        return parse_host_message(body)

    def _send(self, message: EnclaveMessage) -> None:
        write_frame(self._stream, encode(message))


def listen(path: Path) -> socket.socket:
    """
    A listening Unix socket that only this user can reach. A stale socket file is replaced.

    Raises:
        ConfigurationError: the path is too long, is something else, or an enclave listens there already.
    """
    if len(str(path).encode()) > _MAX_SOCKET_PATH_BYTES:
        raise ConfigurationError(
            f"the socket path {path} is longer than {_MAX_SOCKET_PATH_BYTES} bytes: choose a shorter one"
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(MAX_CONNECTIONS)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def _remove_stale(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"{path} is in the way and is no socket: remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        else:
            raise ConfigurationError(f"an enclave listens on {path} already")


def serve_connections(listener: socket.socket, enclave: Enclave, opened: threading.Event) -> None:
    """One thread's work: once `opened`, serve one connection after the other, for ever."""
    opened.wait()
    while True:
        stream, _ = listener.accept()
        with stream:
            try:
                _Connection(stream, enclave).serve()
            except (OSError, EOFError):
                continue  # the host left
            except Exception:
                _logger.exception("a connection failed")
