"""Every byte of a report either names the build or does not; the formulas say which."""

import hashlib

import pytest

from oracle.attestation.measurements import (
    dcap_platform,
    nitro_measurement,
    sgx_measurement,
    snp_measurement,
    tdx_measurement,
)
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError

REPORT = hashlib.shake_256(b"a report").digest(1184)
SGX = {*range(16, 20), *range(32, 56), *range(64, 96), *range(128, 160), *range(192, 262), *range(304, 320)}
TDX = set(range(120, 520))
SNP = {*range(4, 52), *range(144, 320)}


@pytest.mark.parametrize(
    ("measure", "size", "measured"),
    [(sgx_measurement, 384, SGX), (tdx_measurement, 648, TDX), (snp_measurement, 1184, SNP)],
)
def test_measurement_depends_on_exactly_the_bytes_that_name_the_build(measure, size, measured):
    report = REPORT[:size]
    own = measure(report)
    for index in range(size):
        flipped = bytes((*report[:index], report[index] ^ 1, *report[index + 1 :]))
        assert (measure(flipped) != own) is (index in measured), index


@pytest.mark.parametrize(("measure", "size"), [(sgx_measurement, 383), (tdx_measurement, 583), (snp_measurement, 671)])
def test_measurement_of_a_short_report_is_refused(measure, size):
    with pytest.raises(EncodingError):
        measure(REPORT[:size])


def test_measurement_domains_are_apart():
    measures = (sgx_measurement, tdx_measurement, snp_measurement)
    assert (
        len({measure(bytes(1184)) for measure in measures} | {nitro_measurement(bytes(48), bytes(48), bytes(48))}) == 4
    )


def test_nitro_measurement_is_the_hash_of_three_registers():
    registers = tuple(bytes([number]) * 48 for number in range(3))
    domain = keccak256(b"Adyton Nitro measurement v1")
    assert nitro_measurement(*registers) == keccak256(domain + b"".join(registers))
    with pytest.raises(EncodingError):
        nitro_measurement(bytes(48), bytes(47), bytes(48))


def test_sgx_and_tdx_measurements_are_the_hashes_of_their_parts():
    body = REPORT[:584]
    assert tdx_measurement(body) == keccak256(keccak256(b"Adyton TDX measurement v1") + body[120:520])
    parts = b"".join(bytes([REPORT[index]]) for index in sorted(SGX))
    assert sgx_measurement(REPORT[:384]) == keccak256(keccak256(b"Adyton SGX measurement v1") + parts)


def test_dcap_platform_is_the_hash_of_ppid_and_pce_id():
    assert dcap_platform(bytes(16), b"\1\2") == keccak256(bytes(16) + b"\1\2")
