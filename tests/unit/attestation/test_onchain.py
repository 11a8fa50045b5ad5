"""Which calls bring a verifier on chain what it lacks: enough of them, none that it must refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.dcap.onchain import (
    DEFAULT_MARGIN_S,
    Bundle,
    Document,
    Step,
    is_usable,
    key_id,
    ready,
    steps,
)
from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.development.certificates import Validity
from oracle.attestation.development.collateral import COLLATERAL_VALID_S
from oracle.attestation.development.dcap import DevelopmentPki
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.errors import CollateralError, NotGenuineError
from oracle.chain.dcap import calldata
from oracle.chain.errors import RevertedError
from tests.fake_verifier import FakeVerifier, bundle_of, collateral_of

NOW_S, DAY_S = 1_800_000_000, 86_400
PKI = DevelopmentPki(now_s=NOW_S)
DOCUMENTS = ("refreshPckCrl", "refreshTcbInfo", "refreshQeIdentity")
ALL = ("refreshRootCrl", "addCertificateAuthority", "addTcbSigner", *DOCUMENTS, "addPck")


def names(found: tuple[Step, ...]) -> tuple[str, ...]:
    return tuple(step.function for step in found)


def supplied(bundle: Bundle, now_s: int = NOW_S, margin_s: int = DEFAULT_MARGIN_S) -> FakeVerifier:
    verifier = FakeVerifier(now_s)
    take_all(verifier, bundle, margin_s)
    return verifier


def take_all(verifier: FakeVerifier, bundle: Bundle, margin_s: int = DEFAULT_MARGIN_S) -> int:
    """Bring what is missing until nothing is; how many rounds it took."""
    rounds = 0
    while found := ready(steps(bundle, verifier.held(bundle), verifier.now_s, margin_s)):
        for step in found:
            verifier.call(calldata(step))
        rounds += 1
        assert rounds <= 3
    return rounds


def test_steps_of_an_empty_verifier_go_in_three_rounds() -> None:
    bundle, verifier = bundle_of(PKI, collateral_of(PKI, NOW_S)), FakeVerifier(NOW_S)
    found = steps(bundle, verifier.held(bundle), NOW_S)
    assert names(found) == ALL
    assert [step.rank for step in found] == [0, 1, 1, 2, 2, 2, 2]
    assert names(ready(found)) == ("refreshRootCrl",)
    assert not is_usable(verifier.held(bundle), NOW_S)
    assert take_all(verifier, bundle) == 3
    assert verifier.held(bundle).has_pck
    assert is_usable(verifier.held(bundle), NOW_S)
    assert verifier.taken == list(ALL)


def test_steps_of_a_supplied_verifier_are_none_until_something_ages() -> None:
    bundle = bundle_of(PKI, collateral_of(PKI, NOW_S))
    verifier = supplied(bundle)
    last_s = NOW_S + COLLATERAL_VALID_S - DEFAULT_MARGIN_S
    fresh = bundle_of(PKI, collateral_of(PKI, last_s))
    assert steps(fresh, verifier.held(fresh), last_s) == ()
    found = steps(fresh, verifier.held(fresh), last_s + 1)
    assert names(ready(found)) == ("refreshRootCrl", *DOCUMENTS)  # in one round: nothing has expired
    assert steps(bundle, verifier.held(bundle), last_s + 1) == ()  # the source has nothing newer


def test_steps_bring_another_evaluation_and_other_revocations_at_once() -> None:
    verifier = supplied(bundle_of(PKI, collateral_of(PKI, NOW_S)))
    newer = bundle_of(PKI, collateral_of(PKI, NOW_S + 1, evaluation_number=19))
    assert names(steps(newer, verifier.held(newer), NOW_S + 1)) == ("refreshTcbInfo", "refreshQeIdentity")
    revoking = bundle_of(PKI, collateral_of(PKI, NOW_S + 1, revoked_by_root=(1, 2)))
    assert names(steps(revoking, verifier.held(revoking), NOW_S + 1)) == ("refreshRootCrl",)


def test_steps_leave_out_an_earlier_evaluation() -> None:
    verifier = supplied(bundle_of(PKI, collateral_of(PKI, NOW_S, evaluation_number=19)))
    later_s = NOW_S + COLLATERAL_VALID_S - DAY_S
    standard = bundle_of(PKI, collateral_of(PKI, later_s, evaluation_number=18))
    assert names(steps(standard, verifier.held(standard), later_s)) == ("refreshRootCrl", "refreshPckCrl")


@pytest.mark.parametrize("offered_s", [NOW_S + 1, NOW_S - COLLATERAL_VALID_S - 1], ids=["not valid yet", "expired"])
def test_steps_without_a_current_root_list_are_none(offered_s: int) -> None:
    bundle = bundle_of(PKI, collateral_of(PKI, offered_s))
    assert steps(bundle, FakeVerifier(NOW_S).held(bundle), NOW_S) == ()


def test_steps_bring_certificates_again_before_they_end() -> None:
    """Intel certifies the same keys again; the contract keeps each certificate until it expires."""
    ends = Validity(NOW_S - DAY_S, NOW_S + 10 * DAY_S)
    ending = DevelopmentPki(now_s=NOW_S, validity=dict.fromkeys(("authority", "tcb_signer", "pck"), ends))
    verifier = supplied(bundle_of(ending, collateral_of(ending, NOW_S)))
    verifier.now_s = now_s = NOW_S + 5 * DAY_S
    begun = Validity(now_s - DAY_S, now_s + 365 * DAY_S)
    renewed = DevelopmentPki(now_s=NOW_S, validity=dict.fromkeys(("authority", "tcb_signer", "pck"), begun))
    bundle = bundle_of(renewed, collateral_of(renewed, now_s))
    found = steps(bundle, verifier.held(bundle), now_s)
    assert names(ready(found)) == ("addCertificateAuthority", "addTcbSigner")
    take_all(verifier, bundle)
    assert verifier.held(bundle).pck.valid_until_s == begun.not_after_s


def test_steps_of_an_issuer_that_expired_bring_nothing_that_it_signed() -> None:
    ends = Validity(NOW_S - DAY_S, NOW_S + DAY_S)
    ending = DevelopmentPki(now_s=NOW_S, validity={"tcb_signer": ends})
    verifier = supplied(bundle_of(ending, collateral_of(ending, NOW_S)))
    verifier.now_s = now_s = NOW_S + 2 * DAY_S
    bundle = bundle_of(ending, collateral_of(ending, now_s, evaluation_number=19))
    assert names(steps(bundle, verifier.held(bundle), now_s)) == ()
    assert not is_usable(verifier.held(bundle), now_s)


def test_is_usable_ends_with_the_first_of_documents_and_machine_certificate() -> None:
    bundle = bundle_of(PKI, collateral_of(PKI, NOW_S))
    held = supplied(bundle).held(bundle)
    assert is_usable(held, NOW_S + COLLATERAL_VALID_S)
    assert not is_usable(held, NOW_S + COLLATERAL_VALID_S + 1)
    ended = Document(1, NOW_S - 1)
    for name in ("pck", "root_crl", "pck_crl", "tcb_info", "qe_identity"):
        assert not is_usable(replace(held, **{name: ended}), NOW_S)  # type: ignore[arg-type]


def test_bundle_of_a_tdx_machine_names_its_own_documents() -> None:
    quote = parse_quote(PKI.quote(QuoteKind.TDX_V4, bytes(32)))
    made = PKI.collateral("TDX", NOW_S)
    collateral = replace(DcapCollateral.parse(made.json().encode()), pck_chain=PKI.pck_chain.decode())
    bundle = Bundle.of(quote, collateral)
    assert bundle.tee_number == 0x81
    verifier = supplied(bundle)
    sgx = bundle_of(PKI, collateral_of(PKI, NOW_S))
    assert names(steps(sgx, verifier.held(sgx), NOW_S)) == ("refreshTcbInfo", "refreshQeIdentity")


def test_bundle_without_the_machines_certificate_is_refused() -> None:
    with pytest.raises(CollateralError, match="PCK"):
        bundle_of(PKI, replace(collateral_of(PKI, NOW_S), pck_chain=None))


def test_key_id_of_another_curve_is_refused() -> None:
    class Certificate:
        def public_key(self) -> ec.EllipticCurvePublicKey:
            return ec.generate_private_key(ec.SECP384R1()).public_key()

    with pytest.raises(NotGenuineError):
        key_id(Certificate())  # type: ignore[arg-type]


dates = st.integers(0, 100 * DAY_S)
documents = st.builds(
    lambda issued, length, number: Document(issued, issued + length, number), dates, dates, st.integers(0, 3)
)


@given(documents, documents, dates, st.integers(0, 40 * DAY_S))
def test_is_due_is_never_what_going_forward_only_refuses(
    held: Document, offered: Document, now_s: int, margin_s: int
) -> None:
    if held.is_due(offered, now_s, margin_s):
        assert held.issued_s < offered.issued_s <= now_s <= offered.valid_until_s
        assert not offered.is_due(offered, now_s, margin_s)  # once brought it is not brought again
    if held.is_evaluation_due(offered, now_s, margin_s):
        assert held.is_due(offered, now_s, margin_s)
        assert held.number <= offered.number


moments = st.integers(-40, 40).map(lambda days: NOW_S + days * DAY_S)
validities = st.builds(lambda start, length: Validity(start, start + length * DAY_S), moments, st.integers(5, 60))


@st.composite
def bundles(draw: st.DrawFn) -> Bundle:
    """Of one machine, each part of its own time."""
    parts = {name: draw(validities) for name in ("authority", "tcb_signer", "pck") if draw(st.booleans())}
    pki = DevelopmentPki(now_s=NOW_S, validity=parts)
    made = [collateral_of(pki, draw(moments), evaluation_number=draw(st.integers(17, 19))) for _ in range(2)]
    mixed = replace(
        made[0],
        root_crl=made[1].root_crl,
        qe_identity=made[1].qe_identity,
        qe_identity_signature=made[1].qe_identity_signature,
    )
    return bundle_of(pki, mixed)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(bundles(), st.integers(0, 20)), min_size=1, max_size=4), st.integers(0, 30))
def test_steps_taken_in_order_are_never_refused_and_leave_none(
    offered: list[tuple[Bundle, int]], margin_days: int
) -> None:
    verifier = FakeVerifier(NOW_S)
    for bundle, later_days in offered:
        verifier.now_s += later_days * DAY_S
        take_all(verifier, bundle, margin_days * DAY_S)
        assert steps(bundle, verifier.held(bundle), verifier.now_s, margin_days * DAY_S) == ()


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(7)))
def test_steps_of_a_rank_go_in_any_order(order: list[int]) -> None:
    bundle, verifier = bundle_of(PKI, collateral_of(PKI, NOW_S)), FakeVerifier(NOW_S)
    while found := ready(steps(bundle, verifier.held(bundle), NOW_S)):
        for _, step in sorted(zip(order, found, strict=False), key=lambda pair: pair[0]):
            verifier.call(calldata(step))
    assert is_usable(verifier.held(bundle), NOW_S)


def test_revoked_issuer_is_refused_by_the_verifier() -> None:
    """What `steps` cannot know; the caller hears of it from the contract."""
    serial = PKI.tcb_signer.certificate.serial_number
    bundle = bundle_of(PKI, collateral_of(PKI, NOW_S, revoked_by_root=(serial,)))
    with pytest.raises(RevertedError, match="SerialRevoked"):
        supplied(bundle)
