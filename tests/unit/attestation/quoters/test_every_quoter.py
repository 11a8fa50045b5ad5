"""What every quoter does, whatever is under it."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from oracle.attestation.quoter import Quoter
from oracle.enclave.lockdown import EXTRA_CALLS
from oracle.errors import QuoteError, SealingError


def data_of(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


def test_quote_is_over_the_report_data_asked_for(quoter: Quoter) -> None:
    first, second = (quoter.quote(data_of(number)) for number in (1, 2))
    assert data_of(1) in first
    assert data_of(2) in second
    assert data_of(2) not in first


def test_quote_from_many_threads_is_each_ones_own(quoter: Quoter) -> None:
    with ThreadPoolExecutor(8) as threads:
        quotes = list(threads.map(lambda number: quoter.quote(data_of(number)), range(24)))
    assert all(data_of(number) in quote for number, quote in enumerate(quotes))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_quote_other_sizes_of_report_data_are_refused(quoter: Quoter, size: int) -> None:
    with pytest.raises(QuoteError):
        quoter.quote(bytes(size))


def test_measurement_is_the_same_each_time(quoter: Quoter) -> None:
    assert len(quoter.measurement()) == 32
    assert quoter.measurement() == quoter.measurement()


def test_evidence_has_the_quote_and_its_kind(quoter: Quoter) -> None:
    evidence = quoter.evidence(data_of(3))
    assert data_of(3) in evidence.quote


def test_needs_are_what_lock_down_knows(quoter: Quoter) -> None:
    assert quoter.needs.system_calls <= EXTRA_CALLS.keys()
    assert bool(quoter.needs.readable) == ("openat" in quoter.needs.system_calls)


def test_sealing_key_is_stable_and_one_per_purpose_or_refused(quoter: Quoter) -> None:
    if quoter.name == "nitro" or getattr(quoter, "kind", None) == "TDX":
        with pytest.raises(SealingError):
            quoter.sealing_key("state")
        return
    key = quoter.sealing_key("state")
    assert (len(key), quoter.sealing_key("state"), quoter.sealing_key("stat") == key) == (32, key, False)
    with pytest.raises(SealingError):
        quoter.sealing_key("")
