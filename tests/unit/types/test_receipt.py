"""A receipt's digest binds every field, the chain and the contract."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.errors import InvalidInputError
from oracle.types.receipt import Outcome, Receipt, batch_digest

RECEIPTS = st.builds(
    Receipt,
    request_id=st.binary(min_size=32, max_size=32),
    outcome=st.sampled_from(Outcome),
    output_hash=st.binary(min_size=32, max_size=32),
    fuel_used=st.integers(0, 2**64 - 2),
    payee=st.binary(min_size=20, max_size=20),
)
COPROCESSOR = b"\x11" * 20


@given(receipt=RECEIPTS)
def test_digest_changes_with_fields_chain_and_contract(receipt):
    changed = [
        replace(receipt, request_id=bytes(31) + bytes([receipt.request_id[-1] ^ 1])),
        replace(receipt, outcome=Outcome(receipt.outcome % 10 + 1)),
        replace(receipt, output_hash=bytes([receipt.output_hash[0] ^ 1]) + receipt.output_hash[1:]),
        replace(receipt, fuel_used=receipt.fuel_used + 1),
        replace(receipt, payee=bytes([receipt.payee[0] ^ 1]) + receipt.payee[1:]),
    ]
    digests = {other.digest(1, COPROCESSOR) for other in changed}
    digests |= {receipt.digest(2, COPROCESSOR), receipt.digest(1, b"\x12" * 20), receipt.digest(1, COPROCESSOR)}
    assert len(digests) == len(changed) + 3


@given(receipts=st.lists(RECEIPTS, min_size=1, max_size=4))
def test_batch_digest_is_no_receipts_digest_and_depends_on_order(receipts):
    digest = batch_digest(receipts, 1, COPROCESSOR)
    assert digest != receipts[0].digest(1, COPROCESSOR)
    if receipts != receipts[::-1]:
        assert digest != batch_digest(receipts[::-1], 1, COPROCESSOR)


@pytest.mark.parametrize("changes", [{"fuel_used": 1 << 64}, {"fuel_used": -1}, {"payee": b""}, {"request_id": b"\0"}])
def test_receipt_value_that_does_not_fit_is_refused(changes):
    good = Receipt(bytes(32), Outcome.COMPLETED, bytes(32), 0, bytes(20))
    with pytest.raises(InvalidInputError):
        replace(good, **changes)
