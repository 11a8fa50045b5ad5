"""
Hosts of a test: network namespaces, each with one link to a hub and no other way out. A link can be cut and mended.

The addresses are known inside these namespaces only. Skips where the system permits none.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

NETWORK = "10.77.0.0/16"
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Host:
    """One namespace beside the hub."""

    name: str
    hub: str
    link: str  # the hub's end
    hub_address: str

    def join(self) -> None:
        """The calling thread is there from now on."""
        with Path("/run/netns", self.name).open() as there:
            _enter(there.fileno())

    def cut(self) -> None:
        """No packet passes; nobody is told."""
        _ip("-n", self.hub, "link", "set", self.link, "down")

    def mend(self) -> None:
        """As before."""
        _ip("-n", self.hub, "link", "set", self.link, "up")


@contextmanager
def hosts(*names: str) -> Iterator[list[Host]]:
    """Hosts with these names. The calling thread, and what it starts, is in the hub meanwhile."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and `ip` (apt-get install iproute2)")
    hub = f"adyton-{os.getpid()}"
    with ExitStack() as stack:
        _add(stack, hub)
        made = [Host(f"{hub}-{name}", hub, f"to-{name}", f"10.77.{n}.1") for n, name in enumerate(names)]
        for number, host in enumerate(made):
            _add(stack, host.name)
            _ip("-n", hub, "link", "add", host.link, "type", "veth", "peer", "name", "uplink", "netns", host.name)
            for namespace, end, last in ((hub, host.link, 1), (host.name, "uplink", 2)):
                _ip("-n", namespace, "address", "add", f"10.77.{number}.{last}/24", "dev", end)
                _ip("-n", namespace, "link", "set", end, "up")
        with _inside(hub):
            yield made


def _add(stack: ExitStack, name: str) -> None:
    added = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if added.returncode != 0:
        pytest.skip(f"network namespaces are not permitted here: {added.stderr.strip()}")
    stack.callback(_ip, "netns", "delete", name)
    _ip("-n", name, "link", "set", "lo", "up")


@contextmanager
def _inside(name: str) -> Iterator[None]:
    with Path("/proc/thread-self/ns/net").open() as ours, Path("/run/netns", name).open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(ours.fileno())


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
