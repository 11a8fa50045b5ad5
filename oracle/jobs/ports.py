"""What jobs need from the rest, as protocols: queue, enclave, programs. `oracle.wiring` knows the concrete classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from oracle.enclave.protocol import BatchSignature, Description, Execute, ReceiptReply, SignedReceipt
from oracle.types.ids import Address, ProgramId, RequestId
from oracle.types.program import Program

FindContent = Callable[[bytes], bytes | None]


class Queue(Protocol):
    """Wake-up calls. Losing one is harmless: the sweeper repeats it. None of these raise."""

    def execute(self, waiting: int = 1) -> None:
        """Somebody should take requests from the store and make receipts: so many, or more, are waiting there."""
        ...

    def submit(self, request_id: RequestId) -> None:
        """Somebody should submit the receipt."""
        ...

    def expire(self, request_id: RequestId) -> None:
        """Somebody should expire it on chain."""
        ...

    def register(self, signer: Address) -> None:
        """Somebody should submit this enclave's registration."""
        ...

    def call(self, call_id: bytes) -> None:
        """Somebody should send this call."""
        ...

    def sweep(self) -> None:
        """Somebody should look for what was forgotten."""
        ...


class Enclave(Protocol):
    """One enclave. Every method may raise `EnclaveUnreachableError` (try again) or `EnclaveError` (it says no)."""

    def describe(self) -> Description:
        """Its keys and what it can do."""
        ...

    def attest(self, chain_id: int, registry: Address, operator: Address, anchor_block_hash: bytes) -> bytes:
        """A quote that registers its keys."""
        ...

    def execute(self, message: Execute, find: FindContent, then: Execute | None = None) -> ReceiptReply:
        """A signed receipt. `find` gives the content that the program needs, by hash. `then` is what comes next."""
        ...

    def sign_batch(self, chain_id: int, coprocessor: Address, receipts: tuple[SignedReceipt, ...]) -> BatchSignature:
        """One signature over several receipts of its own."""
        ...


class Programs(Protocol):
    """Where programs come from."""

    def find(self, program_id: ProgramId) -> Program | None:
        """What the id is the hash of, or None if nobody published it."""
        ...

    def content(self, program_id: ProgramId) -> FindContent:
        """How to find what this program needs: manifest, code, blobs."""
        ...
