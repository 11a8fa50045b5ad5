"""
Listen where no Unix socket reaches: TCP for Gramine and trust domains, vsock for Nitro.

The channel carries no secret and is trusted by nobody, but whoever reaches it can put the enclave to work and have it
registered for another operator. So it belongs on an address that only its own host can reach.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from oracle.enclave.server import MAX_CONNECTIONS
from oracle.errors import ConfigurationError

_MAX_PORT: Final = {"tcp": 65_535, "vsock": 0xFFFF_FFFE}
_ANY_CONTEXT: Final = 0xFFFF_FFFF  # VMADDR_CID_ANY


def listen_at(address: str) -> socket.socket:
    """
    A listening socket at `tcp:HOST:PORT` (HOST an IP address, IPv6 in brackets) or `vsock:PORT`.

    Raises:
        ConfigurationError: not such an address, or it cannot be had.
    """
    kind, _, rest = address.partition(":")
    host, _, digits = rest.rpartition(":")
    port = int(digits) if digits.isascii() and digits.isdecimal() else 0
    if not 0 < port <= _MAX_PORT.get(kind, 0) or (kind == "tcp") != bool(host):
        raise ConfigurationError(f"cannot listen at {address!r}: write tcp:HOST:PORT or vsock:PORT")
    try:
        listener = _bound(kind, host.strip("[]"), port)
        listener.listen(MAX_CONNECTIONS)
    except ValueError as error:
        raise ConfigurationError(f"cannot listen at {address!r}: {host!r} is not an IP address") from error
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {address!r}: {error.strerror}") from error
    return listener


def _bound(kind: str, host: str, port: int) -> socket.socket:
    if kind == "vsock":
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        listener.bind((_ANY_CONTEXT, port))
        return listener
    version = ipaddress.ip_address(host).version
    listener = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
    listener.bind((host, port))
    return listener
