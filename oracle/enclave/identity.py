"""
Who this enclave is: its keys, made at boot and never leaving the process, and its measurement.

It signs receipts of requests that it executed itself, batches of receipts that carry its own signature, and nothing
else. The report data of a quote is always computed here from the enclave's own keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from oracle.attestation.quoter import Quoter
from oracle.crypto.ecdsa import SigningKey, recover
from oracle.enclave.outcome import HostError
from oracle.errors import InvalidInputError, QuoteError
from oracle.types.attestation import report_data
from oracle.types.ids import Address, MeasurementId
from oracle.types.receipt import Receipt, batch_digest


class Identity:
    """The enclave's keys and what is done with them."""

    def __init__(self, quoter: Quoter) -> None:
        """
        New keys, on the platform behind `quoter`.

        Raises:
            QuoteError: the platform gives no quote.
        """
        self._signing_key = SigningKey()
        self._sealing_key = X25519PrivateKey.generate()
        self._quoter = quoter
        self.quoter_name = quoter.name
        self.measurement: MeasurementId = quoter.measurement()
        self.signer = Address(self._signing_key.address)
        self.sealing_key = self._sealing_key.public_key().public_bytes_raw()

    def quote(self, chain_id: int, registry: Address, operator: Address, anchor_block_hash: bytes) -> bytes:
        """
        Evidence that registers this enclave's keys for `operator` in `registry`.

        Raises:
            HostError: the platform gives no quote.
        """
        data = report_data(chain_id, registry, self.signer, self.sealing_key, operator, anchor_block_hash)
        try:
            return self._quoter.quote(data)
        except QuoteError as error:
            raise HostError("quote_failed", str(error)) from error

    def sign(self, receipt: Receipt, chain_id: int, coprocessor: Address) -> bytes:
        """Sign a receipt that this enclave made."""
        return self._signing_key.sign(receipt.digest(chain_id, coprocessor))

    def sign_batch(self, receipts: Sequence[tuple[Receipt, bytes]], chain_id: int, coprocessor: Address) -> bytes:
        """
        Sign receipts as one batch.

        Raises:
            HostError: there are none, one is named twice, or one does not carry this enclave's signature.
        """
        if not receipts or len({receipt.request_id for receipt, _ in receipts}) != len(receipts):
            raise HostError("foreign_receipt", "a batch is at least one receipt, and each request's only once")
        for receipt, signature in receipts:
            try:
                signer = recover(receipt.digest(chain_id, coprocessor), signature)
            except InvalidInputError as error:
                raise HostError("foreign_receipt", str(error)) from error
            if signer != self.signer:
                raise HostError(
                    "foreign_receipt", f"receipt of 0x{receipt.request_id.hex()} is not signed by this enclave"
                )
        return self._signing_key.sign(batch_digest([receipt for receipt, _ in receipts], chain_id, coprocessor))
