"""
Relay accounts and every transaction they send, written before it is broadcast.

A nonce is used once and none is skipped: the next nonce and the signed transaction are one commit, and a
compare-and-set on nonce and owner lets one of two submitters win. What is written here but never reached the node is
simply broadcast again.

An account has one owner, the process that may sign for it, for as long as it renews its lease. Clocks decide only how
soon another may take over; who did is decided by compare-and-set, so a former owner that wakes up late writes nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, or_, select, update

from oracle.store.database import Database
from oracle.store.errors import AccountLostError, ConflictError, NonceTakenError
from oracle.store.rows import EnclaveState, RequestState, TransactionState
from oracle.store.schema import accounts, enclaves, requests, subjects, transactions, versions
from oracle.types.ids import Address
from oracle.types.transaction import Fees, MinedTransaction, SentTransaction, SignedTransaction, TransactionKind

_PARAMETERS = 500  # of one query


class Journal:
    """The tables `accounts`, `transactions`, `subjects` and `versions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, account: Address, owner: str, now_ms: int, until_ms: int) -> bool:
        """Own the account until `until_ms`, or longer if renewed. False if somebody else's lease is not over."""
        with self._database.write() as connection:
            connection.execute(
                self._database.insert(accounts).values(address=account, next_nonce=0).on_conflict_do_nothing()
            )
            held = connection.execute(
                update(accounts)
                .where(
                    accounts.c.address == account, or_(accounts.c.owner == owner, accounts.c.held_until_ms <= now_ms)
                )
                .values(owner=owner, held_until_ms=until_ms)
            )
            return bool(held.rowcount)

    def let_go(self, account: Address, owner: str) -> None:
        """End the lease now, so that another need not wait for its end."""
        with self._database.write() as connection:
            connection.execute(
                update(accounts).where(accounts.c.address == account, accounts.c.owner == owner).values(held_until_ms=0)
            )

    def owner(self, account: Address) -> str | None:
        """Who owns the account, or did last; None if nobody ever used it."""
        with self._database.read() as connection:
            return connection.scalar(select(accounts.c.owner).where(accounts.c.address == account))

    def ownerless(self, now_ms: int) -> list[Address]:
        """Accounts whose lease is over, with transactions in flight that carry something."""
        waiting = select(transactions.c.account).where(
            transactions.c.state == TransactionState.SENT, transactions.c.kind != TransactionKind.FILL
        )
        query = select(accounts.c.address).where(accounts.c.held_until_ms <= now_ms, accounts.c.address.in_(waiting))
        with self._database.read() as connection:
            return [Address(value) for value in connection.execute(query).scalars()]

    def next_nonce(self, account: Address, chain_nonce: int) -> int:
        """
        The nonce to sign next. `chain_nonce`, how many the chain has mined, only ever raises it (the key was used
        elsewhere).
        """
        known = {"account": account}
        with self._database.read() as connection:
            nonce = connection.scalar(_NEXT_NONCE, known)
        if nonce is not None and nonce >= chain_nonce:
            return int(nonce)
        with self._database.write() as connection:
            connection.execute(
                self._database.insert(accounts).values(address=account, next_nonce=chain_nonce).on_conflict_do_nothing()
            )
            connection.execute(
                update(accounts)
                .where(accounts.c.address == account, accounts.c.next_nonce < chain_nonce)
                .values(next_nonce=chain_nonce)
            )
            return int(connection.execute(_NEXT_NONCE, known).scalar_one())

    def record(self, transaction: SignedTransaction, now_ms: int, owner: str = "") -> None:
        """
        Take the nonce and keep the transaction; requests it fulfills go EXECUTED -> SUBMITTED, an enclave it registers
        ATTESTED -> SUBMITTED. All of it or nothing.

        Raises:
            AccountLostError: `owner` does not own the account (any more).
            NonceTakenError: the nonce is not the next one.
            ConflictError: a subject is not in the state that this kind needs.
        """
        account, nonce = transaction.account, transaction.nonce
        with self._database.write() as connection:
            taken = connection.execute(_TAKE_NONCE, {"account": account, "nonce": nonce, "by": owner})
            if not taken.rowcount:
                _require_owner(connection, account, owner)
                actual = connection.execute(select(accounts.c.next_nonce).where(accounts.c.address == account)).scalar()
                raise NonceTakenError("the next nonce", nonce, actual)
            _claim(connection, transaction, now_ms)
            _insert(connection, transaction, now_ms)

    def fill(self, transaction: SignedTransaction, now_ms: int, owner: str = "") -> None:
        """
        Keep a transaction for a nonce that was passed over: below the next one, and none of ours.

        Raises:
            AccountLostError: as `record`.
            RowTakenError: we have a transaction with this nonce.
        """
        with self._database.write() as connection:
            _require_owner(connection, transaction.account, owner)
            _insert(connection, transaction, now_ms)

    def replace(self, transaction: SignedTransaction, now_ms: int, owner: str = "") -> bool:
        """Keep another version of a nonce that is still SENT. False if it has been mined meanwhile."""
        with self._database.write() as connection:
            _require_owner(connection, transaction.account, owner)
            moved = connection.execute(
                update(transactions)
                .where(*_is(transaction.account, transaction.nonce), transactions.c.state == TransactionState.SENT)
                .values(kind=transaction.kind)
            )
            if moved.rowcount:
                same = (versions.c.account == transaction.account, versions.c.nonce == transaction.nonce)
                number = connection.execute(select(func.count()).select_from(versions).where(*same)).scalar_one()
                _add_version(connection, transaction, number, now_ms)
            return bool(moved.rowcount)

    def abandon(self, account: Address, nonce: int, now_ms: int) -> bool:
        """
        Give back what a SENT transaction of an ownerless account carries: requests SUBMITTED -> EXECUTED, enclaves
        SUBMITTED -> DEAD. Whoever owns the account next finds nothing in it but a nonce to fill. False if the account
        has an owner, or the transaction nothing to give back.

        The signed transaction may be mined all the same; the chain then refuses the second one.
        """
        with self._database.write() as connection:
            lapsed = select(accounts.c.address).where(accounts.c.address == account, accounts.c.held_until_ms <= now_ms)
            if connection.execute(lapsed.with_for_update()).first() is None:
                return False
            kind = _kind(connection, account, nonce)
            moved = connection.execute(
                update(transactions)
                .where(
                    *_is(account, nonce),
                    transactions.c.state == TransactionState.SENT,
                    transactions.c.kind != TransactionKind.FILL,
                )
                .values(kind=TransactionKind.FILL)
            )
            if moved.rowcount:
                _release(connection, account, nonce, kind)
            return bool(moved.rowcount)

    def sent(self, account: Address) -> list[SentTransaction]:
        """Transactions that are not known to be mined, by nonce."""
        return self._select(account, transactions.c.state == TransactionState.SENT)

    def mined_since(self, account: Address, nonce: int) -> list[SentTransaction]:
        """Transactions from `nonce` on that were seen mined: the chain says otherwise if that is its next nonce."""
        return self._select(account, (transactions.c.state != TransactionState.SENT) & (transactions.c.nonce >= nonce))

    def newest_mined(self, account: Address, limit: int) -> list[MinedTransaction]:
        """Up to `limit` transactions with the highest nonces that were seen mined, and where."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(transactions)
                .where(transactions.c.account == account, transactions.c.mined_block > 0)
                .order_by(transactions.c.nonce.desc())
                .limit(limit)
            ).all()
            return [
                MinedTransaction(
                    _load(connection, row), row.mined_hash, row.mined_block, row.state == TransactionState.MINED
                )
                for row in rows
            ]

    def is_in_flight(self, kind: TransactionKind, subject: bytes) -> bool:
        """Whether a transaction of this kind about `subject` is SENT."""
        with self._database.read() as connection:
            joined = transactions.join(
                subjects, (subjects.c.account == transactions.c.account) & (subjects.c.nonce == transactions.c.nonce)
            )
            query = (
                select(func.count())
                .select_from(joined)
                .where(
                    subjects.c.subject == subject,
                    transactions.c.kind == kind,
                    transactions.c.state == TransactionState.SENT,
                )
            )
            return bool(connection.execute(query).scalar_one())

    def conclude(
        self, account: Address, nonce: int, mined_hash: bytes, mined_block: int, *, succeeded: bool, cost_wei: int = 0
    ) -> None:
        """
        SENT -> MINED or REVERTED. A reverted one gives its requests back: SUBMITTED -> EXECUTED, enclaves SUBMITTED ->
        DEAD.
        """
        state = TransactionState.MINED if succeeded else TransactionState.REVERTED
        with self._database.write() as connection:
            moved = connection.execute(
                update(transactions)
                .where(*_is(account, nonce), transactions.c.state == TransactionState.SENT)
                .values(state=state, mined_hash=mined_hash, mined_block=mined_block, cost_wei=str(cost_wei))
            )
            if moved.rowcount and not succeeded:
                _release(connection, account, nonce, _kind(connection, account, nonce))

    def reopen(self, account: Address, nonce: int) -> None:
        """MINED or REVERTED -> SENT: a reorganisation took the block away."""
        with self._database.write() as connection:
            connection.execute(
                update(transactions)
                .where(*_is(account, nonce))
                .values(state=TransactionState.SENT, mined_hash=None, mined_block=None, cost_wei=None)
            )

    def _select(self, account: Address, condition: ColumnElement[bool]) -> list[SentTransaction]:
        with self._database.read() as connection:
            rows = connection.execute(
                select(transactions).where(transactions.c.account == account, condition).order_by(transactions.c.nonce)
            ).all()
            return [_load(connection, row) for row in rows]


def _is(account: Address, nonce: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return transactions.c.account == account, transactions.c.nonce == nonce


def _require_owner(connection: Connection, account: Address, owner: str) -> None:
    """Check, until we commit, that the account is `owner`'s. One that nobody ever took is nobody's."""
    query = select(accounts.c.owner).where(accounts.c.address == account).with_for_update()
    actual = connection.execute(query).scalar()
    if actual is not None and actual != owner:
        raise AccountLostError(f"the owner of the relay account 0x{account.hex()}", owner, actual)


def _kind(connection: Connection, account: Address, nonce: int) -> TransactionKind:
    return TransactionKind(connection.execute(select(transactions.c.kind).where(*_is(account, nonce))).scalar_one())


def _insert(connection: Connection, transaction: SignedTransaction, now_ms: int) -> None:
    where = {"account": transaction.account, "nonce": transaction.nonce}
    connection.execute(_INSERT, {**where, "kind": transaction.kind, "state": TransactionState.SENT})
    about = [
        {**where, "position": position, "subject": subject} for position, subject in enumerate(transaction.subjects)
    ]
    if about:
        connection.execute(_INSERT_SUBJECTS, about)
    _add_version(connection, transaction, 0, now_ms)


def _claim(connection: Connection, transaction: SignedTransaction, now_ms: int) -> None:
    """Move the subjects to SUBMITTED, or raise ConflictError, which rolls everything back."""
    wanted = transaction.subjects
    if transaction.kind is TransactionKind.FULFILL:
        for first in range(0, len(wanted), _PARAMETERS):
            some = wanted[first : first + _PARAMETERS]
            values = {"ids": some, "by_account": transaction.account, "at_nonce": transaction.nonce, "now_ms": now_ms}
            moved = connection.execute(_SUBMIT, values)
            if moved.rowcount != len(some):
                raise ConflictError(f"one of {len(some)} requests", RequestState.EXECUTED, "somewhere else")
    elif transaction.kind is TransactionKind.REGISTER:
        (signer,) = wanted
        moved = connection.execute(
            update(enclaves)
            .where(enclaves.c.signer == signer, enclaves.c.state == EnclaveState.ATTESTED)
            .values(state=EnclaveState.SUBMITTED)
        )
        if not moved.rowcount:
            actual = connection.execute(select(enclaves.c.state).where(enclaves.c.signer == signer)).scalar()
            raise ConflictError(f"enclave 0x{signer.hex()}", EnclaveState.ATTESTED, actual)


def _release(connection: Connection, account: Address, nonce: int, kind: TransactionKind) -> None:
    """What the transaction carried is free again, unless another one carries it meanwhile."""
    connection.execute(
        update(requests)
        .where(
            requests.c.sent_account == account,
            requests.c.sent_nonce == nonce,
            requests.c.state == RequestState.SUBMITTED,
        )
        .values(
            state=RequestState.EXECUTED,
            sent_account=None,
            sent_nonce=None,
            sent_at_ms=None,
            attempts=requests.c.attempts + 1,
        )
    )
    if kind is TransactionKind.REGISTER:
        signers = select(subjects.c.subject).where(subjects.c.account == account, subjects.c.nonce == nonce)
        connection.execute(
            update(enclaves)
            .where(enclaves.c.signer.in_(signers), enclaves.c.state == EnclaveState.SUBMITTED)
            .values(state=EnclaveState.DEAD)
        )


def _add_version(connection: Connection, transaction: SignedTransaction, number: int, now_ms: int) -> None:
    values = {
        "hash": transaction.hash,
        "account": transaction.account,
        "nonce": transaction.nonce,
        "number": number,
        "to": transaction.to,
        "data": transaction.data,
        "gas_limit": transaction.gas_limit,
        "max_fee_per_gas": str(transaction.fees.max_fee_per_gas),
        "max_priority_fee_per_gas": str(transaction.fees.max_priority_fee_per_gas),
        "raw": transaction.raw,
        "sent_at_ms": now_ms,
    }
    connection.execute(_INSERT_VERSION, values)


# Made once: making a statement takes longer than running it.
_NEXT_NONCE = select(accounts.c.next_nonce).where(accounts.c.address == bindparam("account"))
_TAKE_NONCE = (
    update(accounts)
    .where(
        accounts.c.address == bindparam("account"),
        accounts.c.next_nonce == bindparam("nonce"),
        accounts.c.owner == bindparam("by"),
    )
    .values(next_nonce=accounts.c.next_nonce + 1)
)
_INSERT, _INSERT_SUBJECTS, _INSERT_VERSION = transactions.insert(), subjects.insert(), versions.insert()
_SUBMIT = (
    update(requests)
    .where(requests.c.request_id.in_(bindparam("ids", expanding=True)), requests.c.state == RequestState.EXECUTED)
    .values(
        state=RequestState.SUBMITTED,
        sent_account=bindparam("by_account"),
        sent_nonce=bindparam("at_nonce"),
        sent_at_ms=bindparam("now_ms"),
        held_until_ms=0,
        held_by=None,
    )
)


def _load(connection: Connection, row: Row[Any]) -> SentTransaction:
    same = (versions.c.account == row.account, versions.c.nonce == row.nonce)
    rows = connection.execute(select(versions).where(*same).order_by(versions.c.number)).all()
    about = select(subjects.c.subject).where(subjects.c.account == row.account, subjects.c.nonce == row.nonce)
    newest = rows[-1]
    signed = SignedTransaction(
        account=Address(row.account),
        nonce=row.nonce,
        kind=TransactionKind(row.kind),
        subjects=tuple(connection.execute(about.order_by(subjects.c.position)).scalars()),
        to=Address(newest.to),
        data=newest.data,
        gas_limit=newest.gas_limit,
        fees=Fees(int(newest.max_fee_per_gas), int(newest.max_priority_fee_per_gas)),
        raw=newest.raw,
        hash=newest.hash,
    )
    return SentTransaction(
        signed, tuple(version.hash for version in rows), newest.sent_at_ms, _is_moot(connection, signed)
    )


def _is_moot(connection: Connection, signed: SignedTransaction) -> bool:
    """Whether every request that the transaction carries has ended, or is carried by another one."""
    if signed.kind is TransactionKind.FULFILL:
        waiting = (requests.c.sent_account == signed.account, requests.c.sent_nonce == signed.nonce)
        query = select(func.count()).select_from(requests).where(*waiting, requests.c.state == RequestState.SUBMITTED)
        return not connection.execute(query).scalar_one()
    if signed.kind is TransactionKind.EXPIRE:
        ended = requests.c.state.in_((RequestState.SETTLED, RequestState.EXPIRED))
        query = select(func.count()).select_from(requests).where(requests.c.request_id.in_(signed.subjects), ~ended)
        return not connection.execute(query).scalar_one()
    return signed.kind is TransactionKind.FILL
