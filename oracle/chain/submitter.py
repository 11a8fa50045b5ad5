"""
Send transactions from one relay account, whose nonce nobody else uses.

Every transaction is simulated, then signed, then written to the journal together with its nonce, and only then
broadcast. So a crash at any point costs a repeated broadcast, never a lost or doubled transaction, and nonces have no
gaps. What is stuck is replaced for a higher fee up to the operator's cap; what became pointless is replaced by a
transfer of nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from oracle.chain.errors import FeeTooHighError, RelayUnfundedError
from oracle.chain.gas import FeePolicy
from oracle.chain.signing import fill, sign, sign_again
from oracle.crypto.ecdsa import SigningKey
from oracle.errors import AdytonError
from oracle.types.ids import Address, hex_of
from oracle.types.transaction import SentTransaction, SignedTransaction, TransactionKind

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AccountState:
    """What a node says about our account, all at the newest block."""

    nonce: int  # how many transactions are mined
    balance_wei: int
    base_fee_per_gas: int


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Where a transaction was mined."""

    transaction_hash: bytes
    block_number: int
    succeeded: bool


class Node(Protocol):
    """What the submitter needs of a node. Every method may raise `RetryableError`."""

    def account(self, address: Address) -> AccountState:
        """The account at the newest block."""
        ...

    def simulate(self, sender: Address, to: Address, data: bytes, gas_limit: int) -> AccountState:
        """Run a call on the newest block without sending it. Raises `RevertedError`."""
        ...

    def estimate(self, sender: Address, to: Address, calldata: bytes) -> int:
        """The gas that a call takes now. Raises `RevertedError`."""
        ...

    def broadcast(self, raw: bytes) -> None:
        """Hand over a signed transaction; having it already is fine."""
        ...

    def inclusion(self, hashes: Sequence[bytes]) -> Inclusion | None:
        """Where one of these transactions was mined, or None."""
        ...


class Journal(Protocol):
    """What the submitter needs of the store. See `oracle.store.journal`."""

    def next_nonce(self, account: Address, chain_nonce: int) -> int:
        """The nonce to sign next."""
        ...

    def record(self, transaction: SignedTransaction, now_ms: int) -> None:
        """Take the nonce and keep the transaction, or raise."""
        ...

    def replace(self, transaction: SignedTransaction, now_ms: int) -> bool:
        """Keep another version."""
        ...

    def sent(self, account: Address) -> list[SentTransaction]:
        """Not known to be mined."""
        ...

    def mined_since(self, account: Address, nonce: int) -> list[SentTransaction]:
        """Known to be mined, from this nonce on."""
        ...

    def conclude(self, account: Address, nonce: int, mined_hash: bytes, mined_block: int, *, succeeded: bool) -> None:
        """It was mined."""
        ...

    def reopen(self, account: Address, nonce: int) -> None:
        """It is not mined after all."""
        ...


@dataclass(slots=True)
class Submitter:
    """Owns the nonce of `key`. Safe to share between threads; several processes need several keys."""

    node: Node
    journal: Journal
    key: SigningKey
    chain_id: int
    policy: FeePolicy
    now_ms: Callable[[], int]
    bump_after_ms: int = 15_000
    lost_after_ms: int = 60_000  # then a nonce that is used, but by none of our versions, is given up
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def account(self) -> Address:
        """The relay account."""
        return Address(self.key.address)

    def send(
        self, kind: TransactionKind, subjects: Sequence[bytes], to: Address, data: bytes, gas_limit: int
    ) -> SignedTransaction:
        """
        Simulate, sign, write down, broadcast. When this returns the transaction is in the journal; it may not be mined
        yet.

        Raises:
            RevertedError: the contract would refuse; nothing was written.
            FeeTooHighError, RelayUnfundedError, RetryableError: not now; nothing was written.
            AdytonError: what the journal raises, if the subject is not in the state for it; nothing was written.
        """
        with self._lock:
            state = self.node.simulate(self.account, to, data, gas_limit)
            fees = self.policy.fees(state.base_fee_per_gas)
            if fees is None:
                raise FeeTooHighError(f"the base fee is {state.base_fee_per_gas} wei: over max_fee_per_gas_gwei")
            if state.balance_wei < gas_limit * fees.max_fee_per_gas:
                raise RelayUnfundedError(
                    f"the relay account {hex_of(self.account)} has {state.balance_wei} wei, a transaction may cost "
                    f"{gas_limit * fees.max_fee_per_gas}: send it some ether"
                )
            nonce = self.journal.next_nonce(self.account, state.nonce)
            signed = sign(self.key, self.chain_id, nonce, kind, subjects, to, data, gas_limit, fees)
            self.journal.record(signed, self.now_ms())
            self._broadcast(signed)
        return signed

    def resume(self) -> None:
        """Broadcast again whatever a crash may have kept from the node. Call once at start."""
        with self._lock:
            for sent in self.journal.sent(self.account):
                self._broadcast(sent.newest)

    def tend(self) -> int:
        """
        Look after what was sent: conclude what is mined, reopen what a reorganisation took away, replace what is stuck.
        Returns how many transactions are still in flight.
        """
        with self._lock:
            account = self.account
            state = self.node.account(account)
            for sent in self.journal.mined_since(account, state.nonce):
                self.journal.reopen(account, sent.newest.nonce)
            in_flight = 0
            for sent in self.journal.sent(account):
                if sent.newest.nonce < state.nonce:
                    self._conclude(sent)
                else:
                    in_flight += 1
                    if self.now_ms() - sent.sent_at_ms >= self.bump_after_ms:
                        self._push(sent, state.base_fee_per_gas)
            return in_flight

    def _conclude(self, sent: SentTransaction) -> None:
        account, nonce = self.account, sent.newest.nonce
        mined = self.node.inclusion(sent.hashes)
        if mined is not None:
            self.journal.conclude(account, nonce, mined.transaction_hash, mined.block_number, succeeded=mined.succeeded)
            if not mined.succeeded:
                _LOG.warning("transaction %s was reverted", hex_of(mined.transaction_hash), extra=_about(sent.newest))
        elif self.now_ms() - sent.sent_at_ms >= self.lost_after_ms:
            _LOG.error("nonce %d was used by a transaction that is not ours: the relay key is used elsewhere", nonce)
            self.journal.conclude(account, nonce, b"", 0, succeeded=False)

    def _push(self, sent: SentTransaction, base_fee_per_gas: int) -> None:
        """Replace for a higher fee; at the cap, broadcast again as it is."""
        fees = self.policy.bumped(sent.newest.fees, base_fee_per_gas)
        if fees is None:
            _LOG.warning("transaction is stuck and its fee is at the cap", extra=_about(sent.newest))
            self._broadcast(sent.newest)
            return
        make = fill if sent.is_moot else sign_again
        replacement = make(self.key, self.chain_id, sent.newest, fees)
        if self.journal.replace(replacement, self.now_ms()):
            _LOG.info("replaced a stuck transaction", extra=_about(replacement))
            self._broadcast(replacement)

    def _broadcast(self, signed: SignedTransaction) -> None:
        """What fails here is tried again by `tend`: the journal has it."""
        try:
            self.node.broadcast(signed.raw)
        except AdytonError as error:
            _LOG.warning("could not broadcast, trying again later: %s", error, extra=_about(signed))


def _about(signed: SignedTransaction) -> dict[str, object]:
    about: dict[str, object] = {"kind": signed.kind.value, "nonce": signed.nonce, "hash": hex_of(signed.hash)}
    if signed.subjects:
        about["request_id" if signed.kind is not TransactionKind.REGISTER else "signer"] = hex_of(signed.subjects[0])
    return about
