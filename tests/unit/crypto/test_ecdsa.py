"""Signatures are canonical, recover to their signer, and hostile ones raise our errors only."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.crypto.ecdsa import SigningKey, recover
from oracle.errors import EncodingError

DIGESTS = st.binary(min_size=32, max_size=32)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def test_address_of_anvils_first_key_is_the_published_one():
    key = SigningKey(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
    assert key.address.hex() == "f39fd6e51aad88f6f4ce6ab8827279cfffb92266"


@given(digest=DIGESTS)
def test_recover_own_signature_gives_own_address(digest):
    key = SigningKey()
    assert recover(digest, key.sign(digest)) == key.address


@given(digest=DIGESTS)
def test_sign_rsv_is_the_same_signature_in_the_older_form(digest):
    key = SigningKey(b"\x07" * 32)
    compact, rsv = key.sign(digest), key.sign_rsv(digest)
    assert rsv[:32] == compact[:32]
    assert (int.from_bytes(compact[32:]) >> 255) == rsv[64] - 27


@given(digest=DIGESTS)
def test_recover_high_s_twin_is_not_another_signature(digest):
    key = SigningKey(b"\x09" * 32)
    r, s, v = (rsv := key.sign_rsv(digest))[:32], int.from_bytes(rsv[32:64]), rsv[64]
    twin = r + (ORDER - s | ((28 - v) << 255)).to_bytes(32)
    with contextlib.suppress(EncodingError):  # the parity bit stands where a high s has its top bit
        assert recover(digest, twin) != key.address


def test_recover_s_just_over_half_the_order_is_refused():
    with pytest.raises(EncodingError, match="canonical"):
        recover(bytes(32), b"\x01" * 32 + (ORDER // 2 + 1).to_bytes(32))


@given(digest=DIGESTS, signature=st.binary(max_size=80))
def test_recover_any_bytes_gives_an_address_or_our_error(digest, signature):
    with contextlib.suppress(EncodingError):
        assert len(recover(digest, signature)) == 20


@pytest.mark.parametrize("secret", [b"", b"\0" * 32, b"\xff" * 32, b"\x01" * 31])
def test_signing_key_impossible_secret_is_refused(secret):
    with pytest.raises(EncodingError):
        SigningKey(secret)
