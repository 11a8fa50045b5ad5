"""Development SEV-SNP evidence has AMD's formats, byte for byte, and one chain of signatures."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.attestation.development.snp import DevelopmentSnp
from oracle.attestation.development.snp_report import SNP_POLICY_DEBUG, SNP_REPORT_BYTES, SnpReport, SnpTcb

MILAN = DevelopmentSnp(b"a test")
GENOA = DevelopmentSnp(b"a test", "Genoa", tcb=SnpTcb(10, 0, 23, 84), ark_key=MILAN.ark_key, ask_key=MILAN.ask_key)
TURIN = DevelopmentSnp(b"a test", "Turin", tcb=SnpTcb(1, 1, 4, 81, fmc=2), ark_key=MILAN.ark_key, ask_key=MILAN.ask_key)
VLEK = DevelopmentSnp(b"a test", is_vlek=True, ark_key=MILAN.ark_key, ask_key=MILAN.ask_key)
MACHINES = [MILAN, GENOA, TURIN, VLEK]
DATA, BUILD = bytes(range(64)), b"\x0b" * 48
REAL = Path(__file__).parents[5] / "shared" / "vectors" / "quotes" / "snp"
NOW_S = 1_780_000_000


def check(report: bytes, leaf: x509.Certificate) -> None:
    """Whether `leaf` signed the report: as an independent reader of AMD's document would do it."""
    r, s = (int.from_bytes(report[at : at + 72], "little") for at in (672, 744))
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(encode_dss_signature(r, s), report[:672], ec.ECDSA(hashes.SHA384()))


@pytest.mark.parametrize("machine", MACHINES)
def test_chain_each_certificate_is_signed_by_the_next(machine: DevelopmentSnp) -> None:
    machine.leaf.verify_directly_issued_by(machine.ask)
    machine.ask.verify_directly_issued_by(machine.ark)
    machine.ark.verify_directly_issued_by(machine.ark)
    for certificate in (machine.ark, machine.ask, machine.leaf):
        [organisation] = certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
        assert organisation.value == "DEVELOPMENT ONLY - NOT AMD"


@pytest.mark.parametrize("machine", MACHINES)
def test_report_is_signed_by_the_leaf_and_names_the_machine(machine: DevelopmentSnp) -> None:
    report = machine.report(DATA, BUILD)
    assert len(report) == SNP_REPORT_BYTES
    check(report, machine.leaf)
    assert (report[0x50:0x90], report[0x90:0xC0]) == (DATA, BUILD)
    assert report[0x1A0:0x1E0] == machine.chip_id
    assert report[0x180:0x188] == machine.tcb.encode()
    assert struct.unpack_from("<I", report, 0)[0] == (2 if machine.product == "Milan" else 3)
    assert struct.unpack_from("<I", report, 0x48)[0] >> 2 & 7 == machine.is_vlek


@given(st.integers(0, 671), st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_report_any_flipped_bit_is_not_signed(position: int, bit: int) -> None:
    report = bytearray(MILAN.report(DATA, BUILD))
    report[position] ^= 1 << bit
    with pytest.raises(InvalidSignature):
        check(bytes(report), MILAN.leaf)


def test_report_same_fields_same_bytes() -> None:
    assert MILAN.report(DATA) == MILAN.report(DATA)
    again = DevelopmentSnp(b"a test", ark_key=MILAN.ark_key, ask_key=MILAN.ask_key)
    assert again.report(DATA) == MILAN.report(DATA)


def test_report_fields_can_be_those_of_a_debug_guest() -> None:
    policy = struct.unpack_from("<Q", MILAN.report(DATA, policy=0x3_001F | SNP_POLICY_DEBUG), 8)[0]
    assert policy >> 19 & 1


def test_machines_have_chips_and_keys_of_their_own() -> None:
    other = DevelopmentSnp(b"a test", number=2, ark_key=MILAN.ark_key, ask_key=MILAN.ask_key)
    assert other.chip_id != MILAN.chip_id
    with pytest.raises(InvalidSignature):
        check(other.report(DATA), MILAN.leaf)


def test_firmware_update_changes_the_chip_key() -> None:
    updated = DevelopmentSnp(b"a test", tcb=SnpTcb(4), ark_key=MILAN.ark_key, ask_key=MILAN.ask_key)
    with pytest.raises(InvalidSignature):
        check(updated.report(DATA), MILAN.leaf)


def test_revocation_list_names_the_revoked_and_is_signed_by_the_root() -> None:
    crl = x509.load_der_x509_crl(MILAN.revocation_list(NOW_S, NOW_S + 86_400, [MILAN.ask.serial_number]))
    assert [entry.serial_number for entry in crl] == [MILAN.ask.serial_number]
    assert crl.is_signature_valid(MILAN.ark.public_key())  # type: ignore[arg-type]
    assert not list(x509.load_der_x509_crl(MILAN.revocation_list(NOW_S, NOW_S + 86_400)))


def test_certificate_table_gives_back_the_chain() -> None:
    table, found = MILAN.certificate_table(), []
    for entry in range(0, len(table), 24):
        offset, size = struct.unpack_from("<II", table, entry + 16)
        if table[entry : entry + 16] == bytes(16):
            break
        found.append(table[offset : offset + size])
    assert found == [c.public_bytes(Encoding.DER) for c in (MILAN.ark, MILAN.ask, MILAN.leaf)]
    assert table.startswith(bytes.fromhex("c0b406a4a80349529743"))  # GUIDs are written in the order of their text


@pytest.mark.skipif(not REAL.is_dir(), reason="real evidence is not beside this checkout")
def test_leaf_has_the_extensions_of_a_real_one() -> None:
    with warnings.catch_warnings(action="ignore"):  # its serial number is zero
        real = x509.load_der_x509_certificate((REAL / "trustee__test-vcek.der").read_bytes())
    chip = next(it.value.public_bytes() for it in real.extensions if it.oid.dotted_string.endswith("3704.1.4"))
    ours = {it.oid.dotted_string: it.value.public_bytes() for it in MILAN.leaf.extensions}
    theirs = {it.oid.dotted_string: it.value.public_bytes() for it in real.extensions}
    assert list(ours) == list(theirs)
    assert {oid: v for oid, v in ours.items() if v != theirs[oid]} == {"1.3.6.1.4.1.3704.1.4": MILAN.chip_id}
    assert (MILAN.leaf.signature_algorithm_oid, len(chip)) == (real.signature_algorithm_oid, 64)


@pytest.mark.skipif(not REAL.is_dir(), reason="real evidence is not beside this checkout")
def test_report_real_one_is_reproduced_byte_for_byte() -> None:
    real = (REAL / "trustee__test-report.bin").read_bytes()
    made = SnpReport(
        report_data=real[0x50:0x90],
        measurement=real[0x90:0xC0],
        guest_svn=4,
        family_id=real[0x10:0x20],
        image_id=real[0x20:0x30],
        host_data=real[0xC0:0xE0],
        id_key_digest=real[0xE0:0x110],
        author_key_digest=real[0x110:0x140],
        report_id=real[0x140:0x160],
        chip_id=real[0x1A0:0x1E0],
        tcb=SnpTcb(3, 0, 8, 0x73),
    )
    current = made.encode()
    assert current[:0x38] == real[:0x38]
    assert current[0x40:0x2A0] == real[0x40:0x2A0]
