"""F6: the host connects programs to the internet, and to nothing near itself."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.enclave.protocol import MAX_CARRIED_BYTES
from oracle.jobs.dialer import Dialer, is_public

NEAR = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.255", "169.254.169.254",
    "168.63.129.16", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1",
    "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1", "2606:4700::1%1", "fec0::1", "ff02::1", "name.example", "", "1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", NEAR)
def test_is_public_address_near_this_machine_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_is_public_address_of_the_internet_is(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_is_public_mapped_form_is_judged_like_the_address(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))
    if address.is_private or address.is_multicast:
        assert not is_public(str(address))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def dialer(listener: socket.socket, **options: bool) -> Dialer:
    return Dialer(resolve=lambda *_: [listener.getsockname()], **options)


def test_dial_name_that_leads_to_this_machine_is_refused(listener: socket.socket) -> None:
    refusing = dialer(listener)
    assert refusing.dial("rebound.example", 443, 1_000) == "the name leads to a private address"
    assert refusing.carry(b"x", 1_000) == (b"", False)
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_dial_name_with_a_private_address_among_others_connects_to_none_of_those(listener: socket.socket) -> None:
    mixed = Dialer(resolve=lambda *_: [("10.0.0.1", 443), listener.getsockname()])
    assert mixed.dial("mixed.example", 443, 1_000) == "the name leads to a private address"


def test_dial_without_permission_of_the_operator_is_refused(listener: socket.socket) -> None:
    assert "nobody" in dialer(listener, is_on=False, insecure_loopback=True).dial("a.example", 443, 1_000)


def test_dial_name_that_is_not_known_or_not_resolved_in_time_says_so() -> None:
    def unknown(*_: object) -> list[tuple[str, int]]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    never = threading.Event()
    assert "cannot be resolved: no such name" in Dialer(resolve=unknown).dial("a.example", 443, 1_000)
    assert Dialer(resolve=lambda *_: []).dial("a.example", 443, 1_000) == "the name has no address"
    hanging = Dialer(resolve=lambda *_: [("1.1.1.1", 443)] if never.wait(20) else [])
    assert "in time" in hanging.dial("a.example", 443, 50)
    never.set()


def test_dial_where_nobody_listens_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = closed.getsockname()
    assert "cannot be reached" in Dialer(resolve=lambda *_: [place], insecure_loopback=True).dial(
        "a.example", 443, 1_000
    )


def test_carry_bytes_go_both_ways_until_the_end(listener: socket.socket) -> None:
    carrying = dialer(listener, insecure_loopback=True)
    assert carrying.dial("a.example", 443, 1_000) == ""
    peer, _ = listener.accept()
    assert carrying.carry(b"ping", 20) == (b"", True)
    assert peer.recv(10) == b"ping"
    peer.sendall(b"x" * (MAX_CARRIED_BYTES + 1))
    peer.close()
    received = bytearray()
    while True:
        data, is_open = carrying.carry(b"", 5_000)
        assert len(data) <= MAX_CARRIED_BYTES
        received += data
        if not is_open:
            break
    assert received == b"x" * (MAX_CARRIED_BYTES + 1)


def test_dial_again_or_hang_up_closes_what_was_connected(listener: socket.socket) -> None:
    carrying = dialer(listener, insecure_loopback=True)
    peers = []
    for _ in range(2):
        assert carrying.dial("a.example", 443, 1_000) == ""
        peers.append(listener.accept()[0])
    assert peers[0].recv(1) == b""
    carrying.hang_up()
    assert peers[1].recv(1) == b""
