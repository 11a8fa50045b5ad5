"""
Send transactions from one relay account, whose nonce nobody else uses.

Every transaction is simulated, then signed, then written to the journal together with its nonce, and only then
broadcast. So a crash at any point costs a repeated broadcast, never a lost or doubled transaction, and nonces have no
gaps. What is stuck is replaced for a higher fee up to the operator's cap; what became pointless, or a nonce that
somebody else used and a reorganisation gave back, is filled by a transfer of nothing.

Several processes may have the same key: the one that holds the account's lease in the journal signs, the others stand
by. What an account without an owner carries is given back after a while, for other accounts to deliver.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from oracle import metrics
from oracle.chain.errors import AccountHeldError, FeeTooHighError, RelayUnfundedError
from oracle.chain.gas import FILL_GAS, FeePolicy
from oracle.chain.signing import fill, sign, sign_again
from oracle.crypto.ecdsa import SigningKey
from oracle.errors import AdytonError
from oracle.types.ids import Address, hex_of
from oracle.types.transaction import MinedTransaction, SentTransaction, SignedTransaction, TransactionKind

_LOG = logging.getLogger(__name__)
_MOST_FILLED = 32  # gaps per look
_RECHECKED = 64  # transactions
_SUBJECTS = {TransactionKind.REGISTER: "signer", TransactionKind.COLLATERAL: "call_id"}


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
    cost_wei: int = 0  # of its gas, whoever asks


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

    def inclusions(self, each: Sequence[Sequence[bytes]]) -> list[Inclusion | None]:
        """For each nonce, given by the hashes of its transactions, where one of them was mined, or None."""
        ...


class Journal(Protocol):
    """What the submitter needs of the store. See `oracle.store.journal`."""

    def next_nonce(self, account: Address, chain_nonce: int) -> int:
        """The nonce to sign next."""
        ...

    def hold(self, account: Address, owner: str, now_ms: int, until_ms: int) -> bool:
        """Own the account for a while; False if somebody else does."""
        ...

    def let_go(self, account: Address, owner: str) -> None:
        """Own it no more."""
        ...

    def ownerless(self, now_ms: int) -> list[Address]:
        """Accounts whose lease was over at `now_ms`, with transactions in flight."""
        ...

    def record(self, transaction: SignedTransaction, now_ms: int, owner: str) -> None:
        """Take the nonce and keep the transaction, or raise."""
        ...

    def fill(self, transaction: SignedTransaction, now_ms: int, owner: str) -> None:
        """Keep a transaction for a nonce that was passed over."""
        ...

    def replace(self, transaction: SignedTransaction, now_ms: int, owner: str) -> bool:
        """Keep another version."""
        ...

    def abandon(self, account: Address, nonce: int, now_ms: int) -> bool:
        """Give back what a transaction of an ownerless account carries."""
        ...

    def sent(self, account: Address) -> list[SentTransaction]:
        """Not known to be mined."""
        ...

    def mined_since(self, account: Address, nonce: int) -> list[SentTransaction]:
        """Known to be mined, from this nonce on."""
        ...

    def conclude(
        self, account: Address, nonce: int, mined_hash: bytes, mined_block: int, *, succeeded: bool, cost_wei: int = 0
    ) -> None:
        """It was mined."""
        ...

    def reopen(self, account: Address, nonce: int) -> None:
        """It is not mined after all."""
        ...

    def newest_mined(self, account: Address, limit: int) -> list[MinedTransaction]:
        """What was last seen mined, and where."""
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
    owner: str = ""  # who we are: the same after a restart, and no other process
    lease_ms: int = 0  # how long the account stays ours if we vanish; 0: nobody else has the key
    relieve_after_ms: int = 300_000  # what an ownerless account sent, and nobody mined, is given back
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _renew_at_ms: int = 0
    _unsent: set[int] = field(default_factory=set)  # nonces that the node did not take
    _gap_since_ms: int | None = None

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
            AccountHeldError: the account is another process's now; nothing was written.
            FeeTooHighError, RelayUnfundedError, RetryableError: not now; nothing was written.
            AdytonError: what the journal raises, if the subject is not in the state for it; nothing was written.
        """
        with self._lock:
            self._hold()
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
            self.journal.record(signed, self.now_ms(), self.owner)
            self._broadcast(signed)
        return signed

    def take_over(self) -> None:
        """
        Own the account: at once if nobody does.

        Raises:
            AccountHeldError: somebody else does, and is alive or was a moment ago.
        """
        with self._lock:
            self._renew_at_ms = 0
            self._hold()

    def hand_over(self) -> None:
        """Let go of the account: another process may own it at once. Send nothing afterwards."""
        with self._lock:
            if self.lease_ms:
                self.journal.let_go(self.account, self.owner)

    def resume(self) -> None:
        """Broadcast again whatever a crash may have kept from the node. Call once at start."""
        with self._lock:
            for sent in self.journal.sent(self.account):
                if not sent.is_moot:
                    self._broadcast(sent.newest)

    def tend(self) -> int:
        """
        Look after what was sent: conclude what is mined, reopen what a reorganisation took away, replace what is stuck.
        Returns how many transactions are still in flight.

        Raises:
            AccountHeldError: the account is another process's now.
        """
        with self._lock:
            self._hold()
            account = self.account
            state = self.node.account(account)
            metrics.gauge("relay_balance_wei", state.balance_wei, account=hex_of(account))
            for sent in self.journal.mined_since(account, state.nonce):
                self.journal.reopen(account, sent.newest.nonce)
                self._unsent.add(sent.newest.nonce)
            all_sent = self.journal.sent(account)
            in_flight = [sent for sent in all_sent if sent.newest.nonce >= state.nonce]
            for sent in all_sent:
                if sent.newest.nonce < state.nonce:
                    self._conclude(account, sent)
                elif self.now_ms() - sent.sent_at_ms >= self.bump_after_ms:
                    self._push(sent, state.base_fee_per_gas)
                elif sent.newest.nonce in self._unsent:
                    self._broadcast(sent.newest)
            self._unsent &= {sent.newest.nonce for sent in in_flight}
            return len(in_flight) + self._fill_gaps(state, {sent.newest.nonce for sent in in_flight})

    def recheck(self) -> int:
        """
        See whether what was seen mined last still is, there and with that result: a reorganisation may have mined it
        anew. Returns how many were not.
        """
        known, moved = self.journal.newest_mined(self.account, _RECHECKED), 0
        found = self.node.inclusions([mined.sent.hashes for mined in known])  # others send meanwhile
        for mined, where in zip(known, found, strict=True):
            if _is_elsewhere(mined, where):
                with self._lock:
                    self.journal.reopen(self.account, mined.sent.newest.nonce)
                    self._conclude(self.account, mined.sent)
                moved += 1
        return moved

    def relieve(self) -> int:
        """
        Give back what accounts without an owner have carried for too long, so that others deliver it. Returns how many
        transactions that were.

        One that is mined after all, late, meets a request that is settled: the chain refuses the second of the two.
        """
        now_ms, count = self.now_ms(), 0
        for account in self.journal.ownerless(now_ms):
            if account == self.account:
                continue
            nonce = self.node.account(account).nonce
            for sent in self.journal.sent(account):
                if sent.newest.nonce < nonce:
                    self._conclude(account, sent)
                elif now_ms - sent.sent_at_ms >= self.relieve_after_ms:
                    count += self.journal.abandon(account, sent.newest.nonce, now_ms)
        if count:
            _LOG.warning("gave back %d transactions of relay accounts that nobody serves any more", count)
        return count

    def _hold(self) -> None:
        """Renew the lease when a third of it is over."""
        now_ms = self.now_ms()
        if not self.lease_ms or now_ms < self._renew_at_ms:
            return
        if not self.journal.hold(self.account, self.owner, now_ms, now_ms + self.lease_ms):
            raise AccountHeldError(f"another submitter owns the relay account {hex_of(self.account)}")
        self._renew_at_ms = now_ms + self.lease_ms // 3

    def _fill_gaps(self, state: AccountState, known: set[int]) -> int:
        """
        Use up nonces below our next one that are neither mined nor ours, for nothing after them can be mined: somebody
        else used them, or a journal that is lost did, and a reorganisation gave them back. Returns how many there are.
        """
        account, now_ms = self.account, self.now_ms()
        gaps = [n for n in range(state.nonce, self.journal.next_nonce(account, state.nonce)) if n not in known]
        if not gaps or self._gap_since_ms is None:
            self._gap_since_ms = now_ms if gaps else None
            return len(gaps)
        fees = self.policy.fees(state.base_fee_per_gas)
        if now_ms - self._gap_since_ms < self.bump_after_ms or fees is None:
            return len(gaps)
        for nonce in gaps[:_MOST_FILLED]:
            signed = sign(self.key, self.chain_id, nonce, TransactionKind.FILL, (), account, b"", FILL_GAS, fees)
            self.journal.fill(signed, now_ms, self.owner)
            _LOG.warning("filling a nonce that was passed over", extra=_about(signed))
            self._broadcast(signed)
        self._gap_since_ms = None
        return len(gaps)

    def _conclude(self, account: Address, sent: SentTransaction) -> None:
        nonce = sent.newest.nonce
        (mined,) = self.node.inclusions([sent.hashes])
        if mined is not None:
            self.journal.conclude(
                account,
                nonce,
                mined.transaction_hash,
                mined.block_number,
                succeeded=mined.succeeded,
                cost_wei=mined.cost_wei,
            )
            kind = sent.newest.kind.value
            metrics.count("transactions", kind=kind, result="mined" if mined.succeeded else "reverted")
            metrics.count("gas_spent_wei", mined.cost_wei, kind=kind)
            if not mined.succeeded:
                _LOG.warning("transaction %s was reverted", hex_of(mined.transaction_hash), extra=_about(sent.newest))
        elif self.now_ms() - sent.sent_at_ms >= self.lost_after_ms:
            _LOG.error("nonce %d was used by a transaction that is not ours: the relay key is used elsewhere", nonce)
            self.journal.conclude(account, nonce, b"", 0, succeeded=False)
            metrics.count("transactions", kind=sent.newest.kind.value, result="lost")

    def _push(self, sent: SentTransaction, base_fee_per_gas: int) -> None:
        """Replace for a higher fee; at the cap, broadcast again as it is."""
        fees = self.policy.bumped(sent.newest.fees, base_fee_per_gas)
        if fees is None:
            _LOG.warning("transaction is stuck and its fee is at the cap", extra=_about(sent.newest))
            self._broadcast(sent.newest)
            return
        make = fill if sent.is_moot else sign_again
        replacement = make(self.key, self.chain_id, sent.newest, fees)
        if self.journal.replace(replacement, self.now_ms(), self.owner):
            metrics.count("replacements")
            _LOG.info("replaced a stuck transaction", extra=_about(replacement))
            self._broadcast(replacement)

    def _broadcast(self, signed: SignedTransaction) -> None:
        """What fails here is tried again by `tend`: the journal has it."""
        try:
            self.node.broadcast(signed.raw)
        except AdytonError as error:
            level = logging.DEBUG if signed.nonce in self._unsent else logging.WARNING
            _LOG.log(level, "could not broadcast, trying again: %s", error, extra=_about(signed))
            self._unsent.add(signed.nonce)
        else:
            self._unsent.discard(signed.nonce)


def _is_elsewhere(mined: MinedTransaction, found: Inclusion | None) -> bool:
    where = None if found is None else (found.transaction_hash, found.block_number, found.succeeded)
    return where is not None and where != (mined.hash, mined.block_number, mined.succeeded)


def _about(signed: SignedTransaction) -> dict[str, object]:
    about: dict[str, object] = {"kind": signed.kind.value, "nonce": signed.nonce, "hash": hex_of(signed.hash)}
    if signed.subjects:
        about[_SUBJECTS.get(signed.kind, "request_id")] = hex_of(signed.subjects[0])
    return about
