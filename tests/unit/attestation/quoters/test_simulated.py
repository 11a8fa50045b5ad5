"""Simulated quotes are byte-exact, measure the build, and are called simulated."""

from __future__ import annotations

import pytest

from oracle.attestation.development.dcap import DevelopmentPki, machine
from oracle.attestation.development.keys import DEVELOPMENT_SEED
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.measurements import sgx_measurement, tdx_measurement
from oracle.attestation.quoters.simulated import SimulatedQuoter, simulated_measurement
from oracle.types.ids import MeasurementId
from tests.platforms import BUILD

DATA = bytes(range(32))
NOW_S = 1_780_000_000


@pytest.mark.parametrize("kind", QuoteKind)
@pytest.mark.parametrize("number", [1, 5])
def test_quote_every_kind_and_machine_is_accepted_under_the_development_root(kind: QuoteKind, number: int) -> None:
    dcap_qvl = pytest.importorskip("dcap_qvl")
    pki = DevelopmentPki(DEVELOPMENT_SEED, NOW_S, machine(number))
    collateral = dcap_qvl.QuoteCollateralV3.from_json(pki.collateral(kind.tee).json())
    quote = SimulatedQuoter(BUILD, kind, number).quote(DATA)
    report = dcap_qvl.verify_with_root_ca(quote, collateral, pki.root.der, NOW_S)
    assert (report.status, bytes(report.ppid)) == ("UpToDate", machine(number).ppid)
    with pytest.raises(ValueError, match=r".+"):
        dcap_qvl.verify(quote, collateral, NOW_S)


@pytest.mark.parametrize("kind", QuoteKind)
def test_measurement_is_of_the_build_and_the_same_on_every_machine(kind: QuoteKind) -> None:
    pki = DevelopmentPki()
    if kind is QuoteKind.SGX_V3:
        expected = sgx_measurement(pki.sgx_report(mr_enclave=BUILD).encode())
    else:
        expected = tdx_measurement(pki.td_report(mr_td=BUILD + bytes(16)).encode())
    assert simulated_measurement(BUILD, kind) == expected
    assert SimulatedQuoter(BUILD, kind, 9).measurement() == expected
    assert simulated_measurement(bytes(32), kind) != expected


def test_sealing_key_is_of_build_machine_and_seed() -> None:
    quoters = (
        SimulatedQuoter(BUILD),
        SimulatedQuoter(bytes(32)),
        SimulatedQuoter(BUILD, number=2),
        SimulatedQuoter(BUILD, seed=b"another"),
    )
    assert len({quoter.sealing_key("state") for quoter in quoters}) == len(quoters)
    assert SimulatedQuoter(BUILD).sealing_key("state") == quoters[0].sealing_key("state")


def test_name_says_that_it_is_simulated() -> None:
    assert SimulatedQuoter(MeasurementId(BUILD)).name == "simulated"
