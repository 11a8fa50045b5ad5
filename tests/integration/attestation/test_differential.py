"""
The same evidence, on chain and off: `DcapVerifier` on Anvil and `oracle.attestation.verifier` reach the same verdict,
and where both accept, the same attestation. Where one is stricter on purpose, the scenario says which, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from oracle import anvil
from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.dcap.onchain import Bundle
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.trim import onchain_evidence
from oracle.attestation.development.certificates import Validity
from oracle.attestation.development.collateral import OLD_S, STATUSES, IsvLevel, PublishedCollateral, TdxModule
from oracle.attestation.development.dcap import DevelopmentPki, machine, processor_platform
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.development.reports import SGX_DEBUG, TD_DEBUG
from oracle.attestation.policy import Policy
from oracle.attestation.verifier import verify
from oracle.attestation.x509 import fingerprint
from oracle.chain.contracts import abi
from oracle.chain.dcap import CONTRACT, DcapOnChain, bring
from oracle.chain.errors import RevertedError
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc
from oracle.chain.wallet import Wallet
from oracle.config import Settings
from oracle.errors import AttestationError, InvalidInputError
from oracle.types.attestation import Attestation, TcbStatus, unpack_advisories
from oracle.types.ids import Address
from oracle.wiring import open_wallet

NOW_S = 1_800_000_000
ISSUED_S = NOW_S - 86_400
PKI = DevelopmentPki(b"differential", ISSUED_S)
OTHER = DevelopmentPki(b"somebody else", ISSUED_S)
DATA = bytes(range(32))
BUILD = b"\x0b" * 32
SGX, TDX, TDX5, TDX15 = QuoteKind
SA = ("INTEL-SA-00615", "INTEL-SA-00960")
ADVISORIES = frozenset({615, 960, 1036, 1099, 0x8003})
ANYTHING = replace(
    Policy.development([fingerprint(PKI.root.certificate)]),
    accepted_statuses=frozenset(TcbStatus) - {TcbStatus.REVOKED},
    accepted_advisories=ADVISORIES,
    grace_period_s=NOW_S,
    takes_any_report_data=True,
)


@dataclass(frozen=True)
class Scenario:
    """A quote and its collateral. `on_chain` and `off_chain` say who is to accept it."""

    quote: bytes
    collateral: PublishedCollateral
    on_chain: bool = True
    off_chain: bool = True


def both(quote: bytes, collateral: PublishedCollateral) -> Scenario:
    return Scenario(quote, collateral)


def neither(quote: bytes, collateral: PublishedCollateral) -> Scenario:
    return Scenario(quote, collateral, on_chain=False, off_chain=False)


def forged(kind: QuoteKind, **fields: object) -> Scenario:
    """A quote that a real quoting enclave would never have signed so."""
    return neither(PKI.quote(kind, DATA, BUILD, **fields), PKI.collateral(kind.tee))


def by(quoting_enclave: object, kind: QuoteKind = TDX) -> Scenario:
    report = (
        PKI.sgx_report(report_data=DATA.ljust(64, b"\0"))
        if kind is SGX
        else PKI.td_report(report_data=DATA.ljust(64, b"\0"))
    )
    return neither(PKI.quote_of(kind, report, quoting_enclave), PKI.collateral(kind.tee))


def _scenarios() -> Iterator[tuple[str, Scenario]]:
    for kind in QuoteKind:
        tee, quote = kind.tee, PKI.quote(kind, DATA, BUILD)
        for status in STATUSES:
            collateral = PKI.collateral(tee, status=status, advisories=SA)
            yield (
                f"{kind.value} {status}",
                neither(quote, collateral) if status == "Revoked" else both(quote, collateral),
            )
        yield (
            f"{kind.value} of a machine of the processor authority",
            both((other := PKI.on(processor_platform())).quote(kind, DATA, BUILD), other.collateral(tee)),
        )
        yield (
            f"{kind.value} quoting enclave out of date",
            both(
                quote,
                PKI.collateral(
                    tee,
                    qe_identity=PKI.qe_identity(tee, levels=(IsvLevel(9), IsvLevel(5, "OutOfDate", SA, OLD_S))),
                ),
            ),
        )
        yield (
            f"{kind.value} quoting enclave below every level",
            neither(quote, PKI.collateral(tee, qe_identity=PKI.qe_identity(tee, levels=(IsvLevel(9),)))),
        )
        yield (
            f"{kind.value} quoting enclave of another signer",
            neither(quote, PKI.collateral(tee, qe_identity=PKI.qe_identity(tee, mr_signer=bytes(32)))),
        )
        yield (
            f"{kind.value} quoting enclave of another product",
            neither(quote, PKI.collateral(tee, qe_identity=PKI.qe_identity(tee, prod_id=7))),
        )
        yield (
            f"{kind.value} machine below every level",
            neither(
                quote,
                PKI.collateral(
                    tee, tcb_info=replace(PKI.tcb_info(tee), levels=PKI.tcb_info(tee, status="OutOfDate").levels[:1])
                ),
            ),
        )
        yield (
            f"{kind.value} of another model",
            neither(PKI.on(machine(1, fmspc=b"\x01" * 6)).quote(kind, DATA, BUILD), PKI.collateral(tee)),
        )
        yield (
            f"{kind.value} revoked PCK",
            neither(quote, PKI.collateral(tee, revoked_pcks=[3, PKI.pck.certificate.serial_number])),
        )
        yield f"{kind.value} others revoked", both(quote, PKI.collateral(tee, revoked_pcks=[3, 4], revoked_by_root=[5]))
        for name in ("pck_authority", "tcb_signer"):
            serial = getattr(PKI, name).certificate.serial_number
            yield f"{kind.value} revoked {name}", neither(quote, PKI.collateral(tee, revoked_by_root=[serial]))
        yield f"{kind.value} under another root", neither(OTHER.quote(kind, DATA, BUILD), OTHER.collateral(tee))
        yield f"{kind.value} expired collateral", neither(quote, PKI.collateral(tee, ISSUED_S - 60 * 86_400))
        yield f"{kind.value} collateral of tomorrow", neither(quote, PKI.collateral(tee, NOW_S + 86_400))
        yield f"{kind.value} evaluation 17", both(quote, PKI.collateral(tee, evaluation_number=17))
        for name in ("authority", "tcb_signer", "pck"):
            ended = replace(PKI, validity={name: Validity(ISSUED_S - 9_999_999, ISSUED_S - 1)})
            yield (
                f"{kind.value} {name} certificate expired",
                neither(ended.quote(kind, DATA, BUILD), ended.collateral(tee)),
            )
        genuine = PKI.quoting_enclave(tee)
        yield f"{kind.value} attestation key not bound", by(replace(genuine, bound_data=bytes(64)), kind)
        yield (
            f"{kind.value} QE report data goes on",
            neither(by(replace(genuine, bound_data=_bound(genuine) + b"\1" * 32), kind).quote, PKI.collateral(tee)),
        )
        yield (
            f"{kind.value} QE in debug mode",
            by(replace(genuine, report=replace(genuine.report, flags=genuine.report.flags | SGX_DEBUG)), kind),
        )
        yield f"{kind.value} QE signed by another machine", by(replace(genuine, signer=PKI.on(machine(9)).pck), kind)
        yield (
            f"{kind.value} another attestation key",
            both(by(PKI.quoting_enclave(tee, number=3), kind).quote, PKI.collateral(tee)),
        )
    yield "sgx debug", forged(SGX, flags=0x05 | SGX_DEBUG)
    for kind in (TDX, TDX5, TDX15):
        yield f"{kind.value} debug", forged(kind, td_attributes=(1 << 28) | TD_DEBUG)
        yield f"{kind.value} SEPT_VE_DISABLE off", forged(kind, td_attributes=0)
        yield f"{kind.value} of a SEAM module signed by somebody", forged(kind, mr_signer_seam=b"\1" * 48)
        yield f"{kind.value} of a SEAM module with attributes", forged(kind, seam_attributes=1)
        levels = (IsvLevel(6), IsvLevel(2, "OutOfDate", SA, OLD_S))
        module = TdxModule(identity="TDX_01", levels=levels)
        yield (
            f"{kind.value} TDX module out of date",
            both(
                PKI.quote(kind, DATA, BUILD),
                PKI.collateral("TDX", tcb_info=replace(PKI.tcb_info("TDX"), modules=(module,))),
            ),
        )
        yield (
            f"{kind.value} TDX module unknown",
            neither(PKI.quote(kind, DATA, BUILD), PKI.collateral("TDX", tcb_info=PKI.tcb_info("TDX", modules=()))),
        )
        old = machine(1, tee_tcb_svn=(5, 0, 2, *([0] * 13)))
        yield (
            f"{kind.value} TDX module of version 0",
            both(PKI.on(old).quote(kind, DATA, BUILD), PKI.on(old).collateral("TDX")),
        )
    yield "tdx-v5-td15 with a service TD", forged(TDX15, mr_service_td=b"\1" * 48)


def _bound(enclave: object) -> bytes:
    import hashlib  # noqa: PLC0415

    from oracle.attestation.development.keys import point_of  # noqa: PLC0415

    return hashlib.sha256(point_of(enclave.attestation_key) + enclave.authentication_data).digest()  # type: ignore[attr-defined]


SCENARIOS = dict(_scenarios())


@pytest.fixture(scope="module")
def wallet() -> Iterator[Wallet]:
    with anvil.running() as node:
        rpc = Rpc(node.rpc_url)
        rpc.call("evm_setNextBlockTimestamp", NOW_S)
        rpc.call("evm_mine")
        yield open_wallet(Settings(rpc_url=node.rpc_url), rpc, anvil.ACCOUNTS[0])
        rpc.close()


@pytest.fixture(scope="module")
def verifier(wallet: Wallet) -> Address:
    return wallet.create(CONTRACT, *PKI.root_point)


@pytest.fixture
def fresh(wallet: Wallet, verifier: Address) -> Iterator[DcapOnChain]:
    """A verifier that holds nothing, at NOW_S or a few seconds after."""
    snapshot = wallet.rpc.call("evm_snapshot")
    yield DcapOnChain(ChainReader(wallet.rpc, wallet.chain_id, verifier), verifier)
    wallet.rpc.call("evm_revert", snapshot)


def on_chain(wallet: Wallet, verifier: DcapOnChain, scenario: Scenario) -> Attestation:
    """What the contract says, once it has been brought all that it takes. Raises RevertedError."""
    quote = parse_quote(scenario.quote)
    bundle = Bundle.of(quote, collateral_of(scenario))
    bring(wallet, verifier, bundle, NOW_S)
    evidence = onchain_evidence(quote)
    fields = verifier.reader.view(CONTRACT, verifier.address, "verify", evidence.evidence)
    wallet.call(CONTRACT, verifier.address, "cacheAttestationKey", evidence.evidence)
    assert verifier.reader.view(CONTRACT, verifier.address, "verify", evidence.cached) == fields
    measurement, data, platform, valid_until, status, number, since, advisories, tail = fields
    return Attestation(
        kind=quote.kind,
        measurement=measurement,
        report_data=data,
        report_data_tail=tail,
        platform=platform,
        valid_until_s=valid_until,
        status=TcbStatus(status),
        evaluation_number=number,
        out_of_date_since_s=since,
        advisories=unpack_advisories(advisories),
    )


def collateral_of(scenario: Scenario) -> DcapCollateral:
    chain = parse_quote(scenario.quote).certification_data.decode().strip("\0")
    return replace(DcapCollateral.parse(scenario.collateral.json().encode()), pck_chain=chain)


def verdict(attempt: Callable[[], Attestation]) -> Attestation | None:
    try:
        return attempt()
    except (RevertedError, AttestationError, InvalidInputError):
        return None


@pytest.mark.parametrize("name", SCENARIOS)
def test_verify_on_chain_and_off_agree(name: str, wallet: Wallet, fresh: DcapOnChain) -> None:
    scenario = SCENARIOS[name]
    here = verdict(lambda: verify(scenario.quote, collateral_of(scenario), NOW_S, ANYTHING))
    there = verdict(lambda: on_chain(wallet, fresh, scenario))
    assert (here is not None, there is not None) == (scenario.off_chain, scenario.on_chain)
    if here is not None and there is not None:
        assert there == here


def test_abi_of_the_verifier_has_what_is_used() -> None:
    assert {"verify", "cacheAttestationKey", "isAttestationKeyCached"} <= abi(CONTRACT).functions.keys()
