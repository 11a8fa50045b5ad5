"""TDX and SEV-SNP through configfs-tsm, against a directory that behaves like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.measurements import snp_measurement, tdx_measurement
from oracle.attestation.quoters.configfs import ATTEMPTS, ConfigfsQuoter
from oracle.attestation.quoters.sev_guest import SevGuest
from oracle.errors import QuoteError, SealingError
from tests.platforms import BUILD, PKI, FakeConfigfs, FakeDevices, snp_machine

DATA = bytes(range(32))


@pytest.mark.parametrize("kind", [QuoteKind.TDX_V4, QuoteKind.TDX_V5, QuoteKind.TDX_V5_TD15])
def test_quote_every_version_is_taken_and_measured_alike(configfs: FakeConfigfs, kind: QuoteKind) -> None:
    configfs.answer = lambda data: PKI.quote(kind, data, BUILD)
    quoter = ConfigfsQuoter(configfs.directory)
    assert quoter.quote(DATA) == PKI.quote(kind, DATA, BUILD)
    assert quoter.measurement() == tdx_measurement(PKI.td_report(mr_td=BUILD + bytes(16)).encode())


@pytest.mark.parametrize("times", [1, ATTEMPTS - 1])
def test_quote_interference_is_noticed_and_tried_again(configfs: FakeConfigfs, times: int) -> None:
    quoter = ConfigfsQuoter(configfs.directory)
    configfs.interferences = times
    assert DATA in quoter.quote(DATA)
    assert configfs.interferences == 0


def test_quote_interference_without_end_is_an_error(configfs: FakeConfigfs) -> None:
    quoter = ConfigfsQuoter(configfs.directory)
    configfs.interferences = 1_000
    with pytest.raises(QuoteError, match="something else keeps writing"):
        quoter.quote(DATA)


def test_quote_interference_that_restores_our_data_is_noticed_all_the_same(configfs: FakeConfigfs) -> None:
    """The generation says so, although the report data is right."""
    configfs.answer = lambda _: PKI.quote(QuoteKind.TDX_V4, DATA, BUILD)
    quoter = ConfigfsQuoter(configfs.directory)
    configfs.interferences = 1_000
    with pytest.raises(QuoteError, match="something else keeps writing"):
        quoter.quote(DATA)


@pytest.mark.parametrize("provider", ["arm_cca_guest", "", "tdx_guest2"])
def test_quoter_unknown_provider_is_refused(configfs: FakeConfigfs, provider: str) -> None:
    configfs.provider = provider
    with pytest.raises(QuoteError, match="provider"):
        ConfigfsQuoter(configfs.directory)


def test_quoter_without_the_kernels_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuoteError, match="offers no reports"):
        ConfigfsQuoter(tmp_path / "nothing")


def test_quoter_removes_what_dead_enclaves_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale, alive, foreign = (tmp_path / name for name in ("adyton-999999999", "adyton-1", "others"))
    for path in (stale, alive, foreign):
        path.mkdir()
    with pytest.raises(QuoteError):  # nobody serves this directory
        ConfigfsQuoter(tmp_path)
    assert (stale.exists(), alive.exists(), foreign.exists()) == (False, True, True)


def test_quote_answer_of_another_kind_is_refused(configfs: FakeConfigfs) -> None:
    configfs.answer = lambda data: PKI.quote(QuoteKind.SGX_V3, data, BUILD)
    with pytest.raises(QuoteError, match="expected a quote of TDX"):
        ConfigfsQuoter(configfs.directory).quote(DATA)


def test_quote_too_large_is_refused(configfs: FakeConfigfs) -> None:
    configfs.answer = lambda data: PKI.quote(QuoteKind.TDX_V4, data, BUILD) + bytes(64 << 10)
    with pytest.raises(QuoteError, match="more than"):
        ConfigfsQuoter(configfs.directory).quote(DATA)


def test_sealing_key_tdx_is_refused_and_says_what_to_use(configfs: FakeConfigfs) -> None:
    with pytest.raises(SealingError, match="dstack"):
        ConfigfsQuoter(configfs.directory).sealing_key("state")


# -- SEV-SNP -----------------------------------------------------------------------------------------------------------


def test_snp_evidence_has_report_and_certificates(snp: ConfigfsQuoter) -> None:
    evidence = snp.evidence(DATA)
    assert evidence.certificates == snp_machine().certificate_table()
    report = snp_machine().report(bytes(32), BUILD + bytes(16))
    assert snp.measurement() == snp_measurement(report)


def test_snp_host_without_certificates_gives_none(configfs: FakeConfigfs, devices: FakeDevices) -> None:
    machine = snp_machine()
    configfs.provider, configfs.answer = "sev_guest", lambda data: machine.report(data, BUILD + bytes(16))
    assert ConfigfsQuoter(configfs.directory).evidence(DATA).certificates == b""


def test_snp_sealing_key_is_of_measurement_and_chip(snp: ConfigfsQuoter, devices: FakeDevices) -> None:
    key = snp.sealing_key("state")
    devices.measurement = b"another build"
    other_build = snp.sealing_key("state")
    devices.chip = b"another chip"
    assert len({key, other_build, snp.sealing_key("state")}) == 3


def test_snp_sealing_key_refused_by_the_processor_is_an_error(snp: ConfigfsQuoter, devices: FakeDevices) -> None:
    devices.status = 0x16
    with pytest.raises(SealingError, match="0x16"):
        snp.sealing_key("state")


def test_snp_sealing_key_without_device_is_an_error(configfs: FakeConfigfs, tmp_path: Path) -> None:
    configfs.provider = "sev_guest"
    quoter = ConfigfsQuoter(configfs.directory, SevGuest(tmp_path / "nothing"))
    with pytest.raises(SealingError, match="cannot be opened"):
        quoter.sealing_key("state")


def test_snp_sealing_key_ioctl_error_is_an_error(configfs: FakeConfigfs, device: Path) -> None:
    configfs.provider = "sev_guest"  # and the kernel's real ioctl, on a plain file
    with pytest.raises(SealingError, match="derives no key"):
        ConfigfsQuoter(configfs.directory, SevGuest(device)).sealing_key("state")
