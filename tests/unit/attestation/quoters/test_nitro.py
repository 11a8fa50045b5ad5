"""AWS Nitro: the real library, with the kernel's ioctl replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oracle.attestation.measurements import nitro_measurement
from oracle.attestation.quoters.nitro import NitroQuoter
from oracle.errors import QuoteError, SealingError
from tests.platforms import BUILD, FakeDevices

DATA = bytes(range(32))


@pytest.fixture
def quoter(devices: FakeDevices, device: Path) -> NitroQuoter:
    pytest.importorskip("aws_nsm_interface")
    return NitroQuoter(device)


def test_measurement_is_the_formula_over_the_registers(quoter: NitroQuoter) -> None:
    assert quoter.measurement() == nitro_measurement(*[BUILD + bytes(16)] * 3)


_ANSWERS: dict[str, Callable[[FakeDevices], Any]] = {
    "an error": lambda _: {"Error": "InvalidOperation"},
    "no document": lambda _: {"Attestation": {}},
    "a text": lambda _: {"Attestation": {"document": "text"}},
    "garbage": lambda _: {"Attestation": {"document": b"\xff" * 50}},
    "no map": lambda _: ["Attestation"],
    "other user data": lambda it: {"Attestation": {"document": it.nitro.document(bytes(32), it.nitro.pcrs(BUILD))}},
    "no user data": lambda it: {"Attestation": {"document": it.nitro.document(None, it.nitro.pcrs(BUILD))}},
    "more than fits": lambda _: {"Attestation": {"document": bytes(20_000)}},
}


@pytest.mark.parametrize("name", _ANSWERS)
def test_quote_anything_but_a_document_over_our_data_is_refused(
    quoter: NitroQuoter, devices: FakeDevices, name: str
) -> None:
    devices.nsm_answer = lambda _: _ANSWERS[name](devices)
    with pytest.raises(QuoteError):
        quoter.quote(DATA)


def test_measurement_document_without_registers_is_refused(quoter: NitroQuoter, devices: FakeDevices) -> None:
    devices.nsm_answer = lambda _: {"Attestation": {"document": devices.nitro.document(bytes(32), {0: b""})}}
    with pytest.raises(QuoteError, match="no measurement"):
        quoter.measurement()


def test_sealing_key_is_refused_and_names_the_key_service(quoter: NitroQuoter) -> None:
    with pytest.raises(SealingError, match="AWS KMS"):
        quoter.sealing_key("state")


def test_quote_kernel_that_refuses_is_an_error(device: Path) -> None:
    pytest.importorskip("aws_nsm_interface")
    with pytest.raises(QuoteError, match="signs no document"):  # the real ioctl, on a plain file
        NitroQuoter(device).quote(DATA)


def test_quoter_without_device_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("aws_nsm_interface")
    with pytest.raises(QuoteError, match="cannot open"):
        NitroQuoter(tmp_path / "nothing")


def test_quoter_without_the_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_nsm_interface", None)
    with pytest.raises(QuoteError, match=r"adyton\[nitro\]"):
        NitroQuoter(tmp_path)
