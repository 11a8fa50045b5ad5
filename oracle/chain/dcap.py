"""What a `DcapVerifier` on chain holds, and the calls that bring it more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from oracle.attestation.dcap.onchain import DEFAULT_MARGIN_S, Bundle, Document, Held, Step, ready, steps
from oracle.chain.contracts import abi
from oracle.chain.errors import RevertedError
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import quantity
from oracle.chain.wallet import Wallet
from oracle.types.ids import Address

CONTRACT: Final = "DcapVerifier"


@dataclass(frozen=True, slots=True)
class DcapOnChain:
    """One verifier. Every method may raise `RetryableError`, and `ChainMismatchError` if there is none."""

    reader: ChainReader
    address: Address

    @classmethod
    def of_registry(cls, reader: ChainReader, registry: Address) -> DcapOnChain:
        """The verifier that this registry asks."""
        verifier = reader.view("EnclaveRegistry", registry, "VERIFIER")
        return cls(reader, Address(bytes.fromhex(verifier.removeprefix("0x"))))

    def root(self) -> tuple[bytes, bytes]:
        """The trusted root's public key `(x, y)`."""
        return bytes(self._view("ROOT_X")), bytes(self._view("ROOT_Y"))

    def held(self, bundle: Bundle) -> Held:
        """What the contract has of this bundle."""
        identity, tee = bundle.identity, bundle.tee_number
        fmspc, pce_id = int.from_bytes(identity.fmspc), int.from_bytes(identity.pce_id)
        issuers = {name: self._issuer("tcbSigner", name) for name in bundle.signer_ids}
        issuers[bundle.authority_id] = self._issuer("certificateAuthority", bundle.authority_id)
        return Held(
            issuers={name: found for name, found in issuers.items() if found != Document()},
            pck=self._pck(bundle.pck_id),
            root_crl=Document(*self._view("rootCrl")),
            pck_crl=Document(*self._view("pckCrl", bundle.authority_id)),
            tcb_info=Document(*self._view("tcbInfo", fmspc, pce_id, tee)),
            qe_identity=Document(*self._view("qeIdentity", tee)),
        )

    def _issuer(self, function: str, name: bytes) -> Document:
        not_before_s, not_after_s, _serial = self._view(function, name)
        return Document(not_before_s, not_after_s)

    def _pck(self, pck_id: bytes) -> Document:
        try:
            *_, not_before_s, valid_until_s = self._view("pck", pck_id)
        except RevertedError as error:
            if error.name == "PckUnknown":
                return Document()
            raise
        return Document(not_before_s, valid_until_s)

    def _view(self, function: str, *arguments: Any) -> Any:
        return self.reader.view(CONTRACT, self.address, function, *arguments)


def calldata(step: Step) -> bytes:
    """The calldata of a step."""
    return abi(CONTRACT).encode(step.function, *step.arguments)


def bring(
    wallet: Wallet, verifier: DcapOnChain, bundle: Bundle, now_s: int, margin_s: int = DEFAULT_MARGIN_S
) -> list[tuple[str, int]]:
    """
    Send whatever the verifier lacks of this bundle, each call when those before it are mined; the calls and their gas.

    Raises:
        RevertedError, RetryableError: as `Wallet.send`.
    """
    sent: list[tuple[str, int]] = []
    while missing := ready(steps(bundle, verifier.held(bundle), now_s, margin_s)):
        for step in missing:
            tx_receipt = wallet.send(verifier.address, calldata(step))
            sent.append((step.function, quantity(tx_receipt["gasUsed"])))
    return sent
