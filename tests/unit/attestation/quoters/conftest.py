"""Every quoter on a fake of its platform."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oracle.attestation.quoter import Quoter
from oracle.attestation.quoters.configfs import ConfigfsQuoter
from oracle.attestation.quoters.dstack import DstackQuoter
from oracle.attestation.quoters.gramine import GramineQuoter
from oracle.attestation.quoters.nitro import NitroQuoter
from oracle.attestation.quoters.sev_guest import SevGuest
from oracle.attestation.quoters.simulated import SimulatedQuoter
from tests.platforms import BUILD, FakeConfigfs, FakeDevices, FakeDstackAgent, FakeGramine, kernel_mkdir, snp_machine


def needs_package(name: str) -> None:
    """Skip unless the optional package is there."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the optional package {name} is not installed")


@pytest.fixture
def gramine(tmp_path: Path) -> Iterator[FakeGramine]:
    fake = FakeGramine(tmp_path / "attestation")
    yield fake
    fake.stop()


@pytest.fixture
def configfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeConfigfs:
    fake = FakeConfigfs(tmp_path / "report")
    monkeypatch.setattr(os, "mkdir", kernel_mkdir(fake.directory))
    return fake


@pytest.fixture
def agent() -> Iterator[FakeDstackAgent]:
    needs_package("dstack_sdk")
    with tempfile.TemporaryDirectory(prefix="adyton-") as directory:
        fake = FakeDstackAgent(Path(directory) / "dstack.sock")
        yield fake
        fake.stop()


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> FakeDevices:
    fake = FakeDevices()
    monkeypatch.setattr(fcntl, "ioctl", fake.ioctl)
    return fake


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "device"
    path.touch()
    return path


@pytest.fixture
def snp(configfs: FakeConfigfs, devices: FakeDevices, device: Path) -> ConfigfsQuoter:
    machine = snp_machine()
    configfs.provider, configfs.auxblob = "sev_guest", machine.certificate_table()
    configfs.answer = lambda data: machine.report(data, BUILD + bytes(16))
    return ConfigfsQuoter(configfs.directory, SevGuest(device))


def _nitro(request: pytest.FixtureRequest) -> Quoter:
    needs_package("aws_nsm_interface")
    request.getfixturevalue("devices")
    return NitroQuoter(request.getfixturevalue("device"))


_MAKERS: dict[str, Callable[[pytest.FixtureRequest], Quoter]] = {
    "gramine": lambda it: GramineQuoter(it.getfixturevalue("gramine").directory),
    "tdx": lambda it: ConfigfsQuoter(it.getfixturevalue("configfs").directory),
    "snp": lambda it: it.getfixturevalue("snp"),
    "dstack": lambda it: DstackQuoter(it.getfixturevalue("agent").socket),
    "nitro": _nitro,
    "simulated": lambda _: SimulatedQuoter(BUILD),
}


@pytest.fixture(params=_MAKERS)
def quoter(request: pytest.FixtureRequest) -> Quoter:
    return _MAKERS[request.param](request)
