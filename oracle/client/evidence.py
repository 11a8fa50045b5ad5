"""
Read back from the chain what a signer was registered with, so that others can verify it without the chain.

    EnclaveRegistered ──> calldata of `register`: trimmed quote, keys ──> PckAdded ──> certificates of the machine

The root certificate, revocation lists and TCB documents come from a source of collateral, fresh. Nothing is verified
here: that is what the result is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from oracle.attestation.dcap.quote import Quote, parse_quote
from oracle.attestation.dcap.trim import untrim
from oracle.attestation.sources import CollateralSource
from oracle.attestation.x509 import pem_of, read_certificate
from oracle.chain.contracts import abi
from oracle.chain.history import arguments_behind, newest
from oracle.chain.reader import ChainReader
from oracle.chain.spans import Query
from oracle.client.document import SignerEvidence
from oracle.client.errors import EvidenceUnavailableError
from oracle.crypto.eip712 import word
from oracle.types.ids import Address, hex_of

_PCK_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class EvidenceReader:
    """Reads registrations of one deployment, and asks `source` for what they lack."""

    reader: ChainReader
    source: CollateralSource
    first_block: int  # of the deployment

    def evidence(self, registry: Address, signer: Address, last_block: int, now_s: int) -> SignerEvidence:
        """
        What `signer` was last registered with up to `last_block`, with collateral of `now_s`, unix seconds.

        Raises:
            EvidenceUnavailableError: it was not registered there, or through another contract.
            CollateralUnavailableError, RetryableError: not now.
            CollateralError, InvalidInputError: the source has not what fits.
        """
        found = self._behind("EnclaveRegistry", registry, "EnclaveRegistered", word(signer), "register", last_block)
        _signer, sealing_key, operator, anchor_block, evidence = found
        verifier = Address(_address(self.reader.view("EnclaveRegistry", registry, "VERIFIER")))
        quote = parse_quote(evidence[_PCK_ID_BYTES:])
        whole = self._with_certificates(quote, verifier, evidence[:_PCK_ID_BYTES])
        return SignerEvidence(
            sealing_key=sealing_key,
            operator=Address(_address(operator)),
            anchor_block=anchor_block,
            anchor_hash=self.reader.block(anchor_block).hash,
            quote=evidence[_PCK_ID_BYTES:],
            collateral=self.source.collateral(whole, now_s),
        )

    def _with_certificates(self, quote: Quote, verifier: Address, pck_id: bytes) -> Quote:
        """The quote as its platform made it: with the chain of its PCK, less the root."""
        last = self.reader.head().number
        pck, authority_id = self._behind("DcapVerifier", verifier, "PckAdded", pck_id, "addPck", last)
        name, function = "CertificateAuthorityAdded", "addCertificateAuthority"
        (authority,) = self._behind("DcapVerifier", verifier, name, authority_id, function, last)
        chain = pem_of([read_certificate(der, "a certificate of the machine") for der in (pck, authority)])
        return parse_quote(untrim(quote, chain))

    def _behind(
        self, contract: str, address: Address, event: str, topic: bytes, function: str, last_block: int
    ) -> tuple[Any, ...]:
        """The arguments of the newest call of `function` that emitted `event` about `topic`."""
        rpc, query = self.reader.rpc, Query(address, ((abi(contract).topics[event],), (topic,)))
        for log in newest(rpc, query, self.first_block, last_block):
            arguments = arguments_behind(rpc, log, contract, function)
            if arguments is not None:
                return arguments
        raise EvidenceUnavailableError(
            f"no transaction up to block {last_block} called {function} of {hex_of(address)} for {hex_of(topic)} "
            "itself: its evidence cannot be read from the chain"
        )


def _address(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
