"""Which quoter is chosen, and that hardware is never passed over for a simulation."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from oracle.attestation.quoters.configfs import ConfigfsQuoter
from oracle.attestation.quoters.detection import Interfaces, open_quoter
from oracle.attestation.quoters.gramine import GramineQuoter
from oracle.errors import ConfigurationError, QuoteError
from oracle.types.ids import MeasurementId
from tests.platforms import FakeConfigfs, FakeDevices, FakeDstackAgent, FakeGramine
from tests.unit.attestation.quoters.conftest import needs_package

BUILD = MeasurementId(b"\x0b" * 32)


@pytest.fixture
def nothing(tmp_path: Path) -> Interfaces:
    none = tmp_path / "none"
    return Interfaces(none, none, (none,), none)


def test_auto_gramine_is_found(gramine: FakeGramine, nothing: Interfaces) -> None:
    interfaces = Interfaces(gramine.directory, nothing.nitro, nothing.dstack, nothing.configfs)
    assert isinstance(open_quoter("auto", BUILD, interfaces), GramineQuoter)


def test_auto_configfs_is_found(configfs: FakeConfigfs, nothing: Interfaces) -> None:
    interfaces = Interfaces(nothing.gramine, nothing.nitro, nothing.dstack, configfs.directory)
    assert isinstance(open_quoter("auto", BUILD, interfaces), ConfigfsQuoter)


def test_auto_dstack_is_found_and_preferred_to_configfs(agent: FakeDstackAgent, nothing: Interfaces) -> None:
    interfaces = Interfaces(nothing.gramine, nothing.nitro, (nothing.nitro, agent.socket), agent.socket.parent)
    assert interfaces.present() == ["dstack", "configfs"]
    assert open_quoter("auto", BUILD, interfaces).name == "dstack"


def test_auto_nitro_is_found(devices: FakeDevices, device: Path, nothing: Interfaces) -> None:
    needs_package("aws_nsm_interface")
    interfaces = Interfaces(nothing.gramine, device, nothing.dstack, nothing.configfs)
    assert open_quoter("auto", BUILD, interfaces).name == "nitro"


def test_auto_machine_without_hardware_is_simulated_and_says_so(
    nothing: Interfaces, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_quoter("auto", BUILD, nothing).name == "simulated"
    assert "prove nothing" in caplog.text


def test_auto_hardware_that_does_not_work_is_an_error_and_no_simulation(tmp_path: Path, nothing: Interfaces) -> None:
    (tmp_path / "attestation_type").write_text("none")
    with pytest.raises(QuoteError):
        open_quoter("auto", BUILD, Interfaces(tmp_path, nothing.nitro, nothing.dstack, nothing.configfs))
    with pytest.raises(QuoteError):
        open_quoter("auto", BUILD, Interfaces(nothing.gramine, nothing.nitro, nothing.dstack, tmp_path))


def test_simulated_on_a_machine_with_hardware_is_warned_about(
    tmp_path: Path, nothing: Interfaces, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "attestation_type").write_text("dcap")
    interfaces = Interfaces(tmp_path, nothing.nitro, nothing.dstack, nothing.configfs)
    with caplog.at_level(logging.WARNING):
        assert open_quoter("simulated", BUILD, interfaces).name == "simulated"
    assert "although this machine offers gramine" in caplog.text


def test_named_with_a_path_is_opened_there(gramine: FakeGramine, nothing: Interfaces) -> None:
    assert open_quoter(f"gramine:{gramine.directory}", BUILD, nothing).name == "gramine"


@pytest.mark.parametrize("name", ["gramine", "configfs", "dstack", "nitro"])
def test_named_and_missing_is_an_error(name: str, nothing: Interfaces) -> None:
    with pytest.raises(QuoteError):
        open_quoter(name, BUILD, nothing)


@pytest.mark.parametrize("kind", ["sgx-v3", "tdx-v4", "tdx-v5", "tdx-v5-td15"])
def test_simulated_kind_and_machine_can_be_chosen(kind: str, nothing: Interfaces) -> None:
    version = {"sgx-v3": 3, "tdx-v4": 4}.get(kind, 5)
    quotes = {open_quoter(f"simulated:{kind}{rest}", BUILD, nothing).quote(bytes(32)) for rest in ("", ":1", ":2")}
    assert {quote[0] for quote in quotes} == {version}
    assert len(quotes) == 2


@pytest.mark.parametrize(
    "name", ["", "sgx", "auto:x", "development", "simulated:sgx", "simulated::0", "simulated::65536", "simulated:::1"]
)
def test_unknown_selection_is_a_configuration_error(name: str, nothing: Interfaces) -> None:
    with pytest.raises(ConfigurationError):
        open_quoter(name, BUILD, nothing)
