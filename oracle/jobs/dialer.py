"""
Carry bytes between an enclave and servers on the internet: the host's side of `fetch`.

The host resolves names, and connects to none of its own neighbours: an address that is private, loopback, link-local,
shared, multicast, reserved or a cloud's metadata service, in any of its IPv4 or IPv6 forms, is refused. It is asked
for by a program, and a program is an attacker until proven otherwise; so the address that was checked is the one that
is connected to, and each redirect is another connection, checked like the first. TLS is the enclave's business.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from oracle.enclave.protocol import MAX_CARRIED_BYTES

MAX_WAIT_MS: Final = 30_000  # whatever the enclave asks for
_CONNECT_S: Final = 5.0  # per address
_FORBIDDEN: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; a cloud's metadata service
        "168.63.129.16/32",  # a cloud's own services, at a public address
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "::/96",  # of these, `embedded` sees those that IPv4 is mapped into
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo and other protocols' own
        "2001:db8::/32",
        "2002::/16",  # IPv4 by way of whatever relay is there
        "fec0::/10",
    )
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Place = tuple[str, int]  # IP address and port
Resolve = Callable[[str, int], Sequence[Place]]  # may raise OSError


def is_public(text: str) -> bool:
    """Whether an IP address is anybody's on the internet, and not something near this machine."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None or address in _NAT64:
            address = ipaddress.IPv4Address(address.packed[-4:])
    is_near = address.is_multicast or not address.is_global
    return not is_near and not any(address in network for network in _FORBIDDEN if network.version == address.version)


def resolve_by_system(host: str, port: int) -> Sequence[Place]:
    """What this machine's resolver says."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [(str(place[0]), int(place[1])) for _, _, _, _, place in found]


class Dialer:
    """One connection at a time. What fails is said in words, and never raised. Not for several threads."""

    def __init__(
        self, *, resolve: Resolve = resolve_by_system, is_on: bool = True, insecure_loopback: bool = False
    ) -> None:
        """
        `insecure_loopback` also connects to this machine's own servers, for tests and development: any program could
        then reach what listens on it, as far as that speaks TLS that the enclave believes.
        """
        self._resolve = resolve
        self._is_on = is_on
        self._insecure_loopback = insecure_loopback
        self._connection: socket.socket | None = None

    def dial(self, host: str, port: int, wait_ms: int) -> str:
        """Connect; an empty text, or why not."""
        self.hang_up()
        if not self._is_on:
            return "this host connects to nobody"
        deadline = time.monotonic() + min(wait_ms, MAX_WAIT_MS) / 1_000
        places = self._places(host, port, deadline)
        if isinstance(places, str):
            return places
        allowed = [place for place in places if self._may(place[0])]
        if not allowed:
            return "the name leads to a private address" if places else "the name has no address"
        reason = "it does not answer in time"
        for place in allowed:
            left_s = min(_CONNECT_S, deadline - time.monotonic())
            if left_s <= 0:
                break
            try:
                self._connection = socket.create_connection(place, timeout=left_s)
            except OSError as error:
                reason = f"it cannot be reached: {error.strerror or 'no answer'}"
                continue
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return ""
        return reason

    def carry(self, data: bytes, wait_ms: int) -> tuple[bytes, bool]:
        """Send, and wait for some bytes: those, and whether more can come. No bytes and True: none came in time."""
        connection = self._connection
        if connection is None:
            return b"", False
        connection.settimeout(max(1, min(wait_ms, MAX_WAIT_MS)) / 1_000)
        try:
            connection.sendall(data)
            received = connection.recv(MAX_CARRIED_BYTES)
        except TimeoutError:
            return b"", True
        except OSError:
            received = b""
        if not received:
            self.hang_up()
        return received, bool(received)

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _may(self, address: str) -> bool:
        return is_public(address) or (self._insecure_loopback and ipaddress.ip_address(address).is_loopback)

    def _places(self, host: str, port: int, deadline: float) -> Sequence[Place] | str:
        """What the resolver says before `deadline`, or why it says nothing. Python cannot interrupt a resolver."""
        found: list[Sequence[Place] | str] = []

        def ask() -> None:
            try:
                found.append(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                found.append(f"the name cannot be resolved: {getattr(error, 'strerror', None) or 'no such name'}")

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        return found[0] if found else "the name could not be resolved in time"
