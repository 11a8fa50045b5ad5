"""
Frames on a stream socket: u32 big-endian length (at most `MAX_FRAME_BYTES`), then that many bytes.

A hostile peer can make `read_frame` raise, never allocate more than it sent.
"""

from __future__ import annotations

import socket
import struct

from oracle.errors import InvalidInputError, LimitExceededError

MAX_FRAME_BYTES = 64 << 20
_HEADER = struct.Struct(">I")
_CHUNK_BYTES = 1 << 20


class TruncatedFrameError(InvalidInputError):
    """The peer closed the connection in the middle of a frame."""


def write_frame(connection: socket.socket, body: bytes) -> None:
    """
    Send one frame.

    Raises:
        LimitExceededError: `body` is over the cap; nothing was sent.
        OSError: the connection failed.
    """
    if len(body) > MAX_FRAME_BYTES:
        raise LimitExceededError("frame size in bytes", MAX_FRAME_BYTES, len(body))
    connection.sendall(_HEADER.pack(len(body)) + body)


def read_frame(connection: socket.socket) -> bytes:
    """
    Receive one frame's body. After any error but EOFError the stream is out of step: close it.

    Raises:
        EOFError: the peer closed the connection between frames.
        TruncatedFrameError: the peer closed it inside a frame.
        LimitExceededError: the announced length is over the cap; its bytes were not read.
        OSError: the connection failed or its timeout passed.
    """
    header = _receive(connection, _HEADER.size)
    if not header:
        raise EOFError
    if len(header) < _HEADER.size:
        raise TruncatedFrameError("the connection closed inside a frame's header")
    (size,) = _HEADER.unpack(header)
    if size > MAX_FRAME_BYTES:
        raise LimitExceededError("frame size in bytes", MAX_FRAME_BYTES, size)
    body = _receive(connection, size)
    if len(body) < size:
        raise TruncatedFrameError(f"the connection closed after {len(body)} of {size} bytes of a frame")
    return body


def _receive(connection: socket.socket, size: int) -> bytes:
    """Up to `size` bytes, fewer only if the peer closes. Memory grows with what arrives."""
    chunk = connection.recv(min(size, _CHUNK_BYTES)) if size else b""
    if len(chunk) == size:
        return chunk
    received = bytearray(chunk)
    while chunk and len(received) < size:
        chunk = connection.recv(min(size - len(received), _CHUNK_BYTES))
        received += chunk
    return bytes(received)
