"""What the enclave signs, and what it refuses to sign."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.quoters.simulated import SimulatedQuoter
from oracle.crypto.ecdsa import recover
from oracle.crypto.hashing import keccak256
from oracle.enclave.identity import Identity
from oracle.enclave.outcome import HostError
from oracle.types.attestation import report_data
from oracle.types.ids import Address, RequestId
from oracle.types.receipt import Outcome, Receipt, batch_digest
from tests.unit.enclave.machine import COPROCESSOR, PAYEE

BUILD = bytes(range(32))
ME = Identity(SimulatedQuoter(BUILD))
CHAIN_ID = 31337


def receipt(number: int) -> Receipt:
    return Receipt(RequestId(number.to_bytes(32)), Outcome.COMPLETED, keccak256(b"output"), 5, PAYEE)


def signed(*numbers: int) -> list[tuple[Receipt, bytes]]:
    return [(receipt(number), ME.sign(receipt(number), CHAIN_ID, COPROCESSOR)) for number in numbers]


def test_identity_each_boot_has_other_keys() -> None:
    other = Identity(SimulatedQuoter(BUILD))
    assert other.signer != ME.signer
    assert other.sealing_key != ME.sealing_key
    assert (len(ME.signer), len(ME.sealing_key)) == (20, 32)


@given(st.integers(0, 2**256 - 1))
def test_sign_any_receipt_recovers_to_the_signer(number: int) -> None:
    [(it, signature)] = signed(number)
    assert recover(it.digest(CHAIN_ID, COPROCESSOR), signature) == ME.signer


@given(st.lists(st.integers(0, 2**64), min_size=1, max_size=5, unique=True))
def test_sign_batch_own_receipts_recovers_to_the_signer(numbers: list[int]) -> None:
    signature = ME.sign_batch(signed(*numbers), CHAIN_ID, COPROCESSOR)
    digest = batch_digest([receipt(number) for number in numbers], CHAIN_ID, COPROCESSOR)
    assert recover(digest, signature) == ME.signer


def _foreign() -> list[list[tuple[Receipt, bytes]]]:
    other = Identity(SimulatedQuoter(BUILD))
    [(good, signature)] = signed(1)
    return [
        [],
        signed(1, 1),
        [*signed(2), (good, other.sign(good, CHAIN_ID, COPROCESSOR))],
        [(replace(good, fuel_used=6), signature)],
        [(replace(good, payee=Address(bytes(20))), signature)],
        [(replace(good, outcome=Outcome.TRAPPED), signature)],
        [(good, ME.sign(good, CHAIN_ID + 1, COPROCESSOR))],
        [(good, ME.sign(good, CHAIN_ID, PAYEE))],
        [(good, bytes(64))],
        [(good, b"\xff" * 64)],
    ]


@pytest.mark.parametrize("pairs", _foreign())
def test_sign_batch_anything_not_signed_by_itself_is_refused(pairs: list[tuple[Receipt, bytes]]) -> None:
    with pytest.raises(HostError) as caught:
        ME.sign_batch(pairs, CHAIN_ID, COPROCESSOR)
    assert caught.value.code == "foreign_receipt"


def test_quote_binds_the_enclaves_own_keys() -> None:
    quote = ME.quote(CHAIN_ID, COPROCESSOR, PAYEE, bytes(32))
    expected = report_data(CHAIN_ID, COPROCESSOR, ME.signer, ME.sealing_key, PAYEE, bytes(32))
    report = parse_quote(quote).body
    assert report[64:96] == BUILD
    assert report[320:384] == expected.ljust(64, b"\0")
