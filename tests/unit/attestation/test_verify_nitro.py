"""Nitro documents of the development PKI."""

import hashlib
from dataclasses import replace

import cbor2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from oracle.attestation.development.nitro import DevelopmentNitro
from oracle.attestation.errors import AttestationError, CollateralError, PolicyError, UntrustedRootError
from oracle.attestation.measurements import nitro_measurement
from oracle.attestation.nitro.document import parse_document
from oracle.attestation.policy import Policy
from oracle.attestation.verifier import verify
from oracle.crypto.hashing import keccak256
from oracle.errors import EncodingError, InvalidInputError
from oracle.types.attestation import TeeKind
from tests.unit.attestation.samples import NOW_S, REPORT_DATA

AWS = DevelopmentNitro(now_s=NOW_S)
PCRS = AWS.pcrs(b"build")
POLICY = Policy.development([hashlib.sha256(AWS.root.public_bytes(Encoding.DER)).digest()])
DOCUMENT = AWS.document(REPORT_DATA, PCRS)


def check(document=DOCUMENT, now_s=NOW_S, policy=POLICY):
    return verify(document, None, now_s, policy)


def test_verify_development_document_gives_an_attestation():
    attestation = check()
    assert attestation.kind is TeeKind.NITRO
    assert attestation.measurement == nitro_measurement(PCRS[0], PCRS[1], PCRS[2])
    assert (attestation.report_data, attestation.report_data_tail) == (REPORT_DATA, b"")
    assert attestation.platform == keccak256(AWS.module_id.encode())
    assert attestation.valid_until_s == NOW_S + 3 * 3600


def test_verify_tagged_document_gives_the_same_attestation():
    assert check(b"\xd2" + DOCUMENT) == check()


def test_verify_development_document_under_production_policy_is_refused():
    with pytest.raises(UntrustedRootError):
        check(policy=Policy())


def test_verify_another_development_root_is_refused():
    with pytest.raises(UntrustedRootError):
        check(replace(AWS, seed=b"another").document(REPORT_DATA, PCRS))


def test_verify_debug_document_is_genuine_but_refused():
    with pytest.raises(PolicyError, match="debug enclave") as refused:
        check(AWS.document(REPORT_DATA, AWS.pcrs(b"", is_debug=True)))
    assert refused.value.attestation is not None


@pytest.mark.parametrize("index", [0, 1, 2])
def test_verify_any_zero_register_of_the_build_is_refused(index):
    with pytest.raises(PolicyError, match="debug enclave"):
        check(AWS.document(REPORT_DATA, {**PCRS, index: bytes(48)}))


@pytest.mark.parametrize(("age_s", "is_accepted"), [(-61, False), (-60, True), (0, True), (300, True), (301, False)])
def test_verify_age_is_bounded_on_both_sides(age_s, is_accepted):
    if is_accepted:
        check(now_s=NOW_S + age_s)
    else:
        with pytest.raises(CollateralError, match="s old"):
            check(now_s=NOW_S + age_s)


def test_verify_chain_has_to_be_valid_when_the_document_was_made():
    later_s = NOW_S + 4 * 3600
    with pytest.raises(CollateralError, match="expired"):
        check(AWS.document(REPORT_DATA, PCRS, timestamp=later_s * 1000), later_s)


@pytest.mark.parametrize("user_data", [bytes(range(33)), bytes(63) + b"\1"])
def test_verify_user_data_after_the_hash_is_refused_unless_taken(user_data):
    document = AWS.document(user_data, PCRS)
    with pytest.raises(PolicyError, match="report data goes on"):
        check(document)
    attestation = check(document, policy=replace(POLICY, takes_any_report_data=True))
    assert attestation.report_data + attestation.report_data_tail == user_data


def test_verify_every_flipped_byte_of_a_document_is_refused():
    for index in range(len(DOCUMENT)):
        flipped = bytes((*DOCUMENT[:index], DOCUMENT[index] ^ 1 << index % 8, *DOCUMENT[index + 1 :]))
        with pytest.raises((AttestationError, InvalidInputError)):
            check(flipped)


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "SHA256"},
        {"digest": None},
        {"module_id": ""},
        {"module_id": "x" * 257},
        {"module_id": b"i-0"},
        {"timestamp": -1},
        {"timestamp": 1.5},
        {"timestamp": True},
        {"timestamp": 1 << 53},
        {"pcrs": {}},
        {"pcrs": {0: bytes(48), 1: bytes(48)}},
        {"pcrs": {**PCRS, 32: bytes(48)}},
        {"pcrs": {**PCRS, "3": bytes(48)}},
        {"pcrs": {**PCRS, 3: bytes(47)}},
        {"cabundle": []},
        {"cabundle": [b""] * 9},
        {"cabundle": [1]},
        {"cabundle": [[b""]]},
        {"certificate": bytes(2049)},
        {"user_data": "text"},
        {"user_data": bytes(1025)},
        {"nonce": cbor2.CBORTag(2, b"\1")},
        {"nonce": cbor2.CBORTag(99, b"\1")},
        {"surprise": 1},
    ],
)
def test_parse_payload_that_is_no_nitro_document_is_refused(changes):
    with pytest.raises(InvalidInputError):
        parse_document(AWS.document(**{"user_data": REPORT_DATA, "pcrs": PCRS, **changes}))


@pytest.mark.parametrize(
    "outer",
    [
        [b"\xa1\x01\x38\x22", {}, b""],
        [b"\xa1\x01\x26", {}, b"\xa0", bytes(96)],
        [b"\xa1\x01\x38\x22", {1: 2}, b"\xa0", bytes(96)],
        [b"\xa1\x01\x38\x22", {}, b"\xa0", bytes(95)],
        [b"\xa1\x01\x38\x22", {}, "text", bytes(96)],
        {},
    ],
)
def test_parse_outer_that_is_no_cose_sign1_is_refused(outer):
    with pytest.raises(InvalidInputError):
        parse_document(cbor2.dumps(outer))


def test_parse_member_twice_or_bytes_after_the_end_is_refused():
    protected, unprotected, payload, signature = cbor2.loads(DOCUMENT)
    doubled = payload[:-1] + cbor2.dumps("nonce") + b"\xf6\xff"
    for changed in (doubled, payload + b"\0"):
        with pytest.raises(EncodingError):
            parse_document(cbor2.dumps([protected, unprotected, changed, signature]))
    with pytest.raises(EncodingError, match="follow"):
        parse_document(DOCUMENT + b"\0")
