"""Development Nitro documents have AWS's format and one chain of signatures."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from oracle.attestation.development.nitro import DevelopmentNitro

NOW_S = 1_780_000_000
AWS = DevelopmentNitro(b"a test", NOW_S)
DATA = bytes(range(32))
REAL = Path(__file__).parents[5] / "shared" / "vectors" / "quotes" / "nitro"


def opened(document: bytes) -> dict[str, object]:
    """The payload of a document whose signature and chain are good, at its own time."""
    protected, unprotected, payload, signature = cbor2.loads(document)
    assert (cbor2.loads(protected), unprotected) == ({1: -35}, {})
    members = cbor2.loads(payload)
    chain = [x509.load_der_x509_certificate(der) for der in (*members["cabundle"], members["certificate"])]
    at_s = members["timestamp"] // 1000
    for issuer, subject in pairwise(chain):
        subject.verify_directly_issued_by(issuer)
        assert subject.not_valid_before_utc.timestamp() <= at_s <= subject.not_valid_after_utc.timestamp()
    key = chain[-1].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    der = encode_dss_signature(int.from_bytes(signature[:48]), int.from_bytes(signature[48:]))
    key.verify(der, cbor2.dumps(["Signature1", protected, b"", payload]), ec.ECDSA(hashes.SHA384()))
    return members


def test_document_is_signed_by_its_chain_and_carries_what_was_asked() -> None:
    members = opened(AWS.document(DATA, AWS.pcrs(b"\x0b" * 32), nonce=b"n", public_key=b"k"))
    assert (members["user_data"], members["nonce"], members["public_key"]) == (DATA, b"n", b"k")
    pcrs = members["pcrs"]
    assert isinstance(pcrs, dict)
    assert [pcrs[number] for number in (0, 1, 2, 3)] == [b"\x0b" * 32 + bytes(16)] * 3 + [bytes(48)]
    assert members["module_id"] == AWS.module_id


def test_document_of_debug_mode_has_zero_registers() -> None:
    members = opened(AWS.document(DATA, AWS.pcrs(b"\x0b" * 32, is_debug=True)))
    pcrs = members["pcrs"]
    assert isinstance(pcrs, dict)
    assert set(pcrs.values()) == {bytes(48)}


def test_document_same_fields_same_bytes() -> None:
    again = DevelopmentNitro(b"a test", NOW_S)
    assert again.document(DATA, again.pcrs(DATA)) == AWS.document(DATA, AWS.pcrs(DATA))


def test_document_root_is_the_same_at_any_time_and_another_for_another_seed() -> None:
    later = DevelopmentNitro(b"a test", NOW_S + 10**7)
    assert (later.root, DevelopmentNitro(b"b", NOW_S).root == AWS.root) == (AWS.root, False)


@pytest.mark.parametrize("position", [0, 5, 40, 300, 900, 2000])
def test_document_flipped_byte_is_not_accepted(position: int) -> None:
    document = bytearray(AWS.document(DATA, AWS.pcrs(DATA)))
    document[position] ^= 1
    with pytest.raises((InvalidSignature, AssertionError, ValueError, TypeError, cbor2.CBORError)):
        opened(bytes(document))


@pytest.mark.skipif(not REAL.is_dir(), reason="real evidence is not beside this checkout")
def test_document_has_the_members_and_the_shape_of_a_real_one() -> None:
    real = (REAL / "dstack__nitro_attestation_cose_extracted.cbor").read_bytes()
    ours = AWS.document(DATA, AWS.pcrs(DATA))
    assert ours[:7] == real[:7]
    theirs, made = (cbor2.loads(cbor2.loads(document)[2]) for document in (real, ours))
    assert {name: type(value) for name, value in made.items()} == {name: type(value) for name, value in theirs.items()}
    assert cbor2.loads(ours)[2][:1] == cbor2.loads(real)[2][:1] == b"\xbf"
    assert len(made["cabundle"]) == len(theirs["cabundle"])
    for name in ("certificate",):
        a, b = (x509.load_der_x509_certificate(members[name]) for members in (made, theirs))
        assert [e.oid for e in a.extensions] == [e.oid for e in b.extensions]
