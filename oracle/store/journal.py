"""
Relay accounts and every transaction they send, written before it is broadcast.

A nonce is used once and none is skipped: the next nonce and the signed transaction are one commit, and a
compare-and-set on the nonce lets one of two submitters win. What is written here but never reached the node is simply
broadcast again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, update

from oracle.store.database import Database
from oracle.store.errors import ConflictError, NonceTakenError
from oracle.store.rows import EnclaveState, RequestState, TransactionState
from oracle.store.schema import accounts, enclaves, requests, subjects, transactions, versions
from oracle.types.ids import Address
from oracle.types.transaction import Fees, SentTransaction, SignedTransaction, TransactionKind


class Journal:
    """The tables `accounts`, `transactions`, `subjects` and `versions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next_nonce(self, account: Address, chain_nonce: int) -> int:
        """
        The nonce to sign next. `chain_nonce`, how many the chain has mined, only ever raises it (the key was used
        elsewhere).
        """
        with self._database.write() as connection:
            connection.execute(
                self._database.insert(accounts).values(address=account, next_nonce=chain_nonce).on_conflict_do_nothing()
            )
            connection.execute(
                update(accounts)
                .where(accounts.c.address == account, accounts.c.next_nonce < chain_nonce)
                .values(next_nonce=chain_nonce)
            )
            nonce = connection.execute(select(accounts.c.next_nonce).where(accounts.c.address == account)).scalar_one()
            return int(nonce)

    def record(self, transaction: SignedTransaction, now_ms: int) -> None:
        """
        Take the nonce and keep the transaction; requests it fulfills go EXECUTED -> SUBMITTED, an enclave it registers
        ATTESTED -> SUBMITTED. All of it or nothing.

        Raises:
            NonceTakenError: the nonce is not the next one.
            ConflictError: a subject is not in the state that this kind needs.
        """
        account, nonce = transaction.account, transaction.nonce
        with self._database.write() as connection:
            taken = connection.execute(
                update(accounts)
                .where(accounts.c.address == account, accounts.c.next_nonce == nonce)
                .values(next_nonce=nonce + 1)
            )
            if not taken.rowcount:
                actual = connection.execute(select(accounts.c.next_nonce).where(accounts.c.address == account)).scalar()
                raise NonceTakenError("the next nonce", nonce, actual)
            connection.execute(
                transactions.insert().values(
                    account=account, nonce=nonce, kind=transaction.kind, state=TransactionState.SENT
                )
            )
            for position, subject in enumerate(transaction.subjects):
                connection.execute(
                    subjects.insert().values(account=account, nonce=nonce, position=position, subject=subject)
                )
                _claim(connection, transaction, subject, now_ms)
            _add_version(connection, transaction, now_ms)

    def replace(self, transaction: SignedTransaction, now_ms: int) -> bool:
        """Keep another version of a nonce that is still SENT. False if it has been mined meanwhile."""
        with self._database.write() as connection:
            moved = connection.execute(
                update(transactions)
                .where(*_is(transaction.account, transaction.nonce), transactions.c.state == TransactionState.SENT)
                .values(kind=transaction.kind)
            )
            if moved.rowcount:
                _add_version(connection, transaction, now_ms)
            return bool(moved.rowcount)

    def sent(self, account: Address) -> list[SentTransaction]:
        """Transactions that are not known to be mined, by nonce."""
        return self._select(account, transactions.c.state == TransactionState.SENT)

    def mined_since(self, account: Address, nonce: int) -> list[SentTransaction]:
        """Transactions from `nonce` on that were seen mined: the chain says otherwise if that is its next nonce."""
        return self._select(account, (transactions.c.state != TransactionState.SENT) & (transactions.c.nonce >= nonce))

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

    def conclude(self, account: Address, nonce: int, mined_hash: bytes, mined_block: int, *, succeeded: bool) -> None:
        """
        SENT -> MINED or REVERTED. A reverted one gives its requests back: SUBMITTED -> EXECUTED, enclaves SUBMITTED ->
        DEAD.
        """
        state = TransactionState.MINED if succeeded else TransactionState.REVERTED
        with self._database.write() as connection:
            moved = connection.execute(
                update(transactions)
                .where(*_is(account, nonce), transactions.c.state == TransactionState.SENT)
                .values(state=state, mined_hash=mined_hash, mined_block=mined_block)
            )
            if moved.rowcount and not succeeded:
                _release(connection, account, nonce)

    def reopen(self, account: Address, nonce: int) -> None:
        """MINED or REVERTED -> SENT: a reorganisation took the block away."""
        with self._database.write() as connection:
            connection.execute(
                update(transactions)
                .where(*_is(account, nonce))
                .values(state=TransactionState.SENT, mined_hash=None, mined_block=None)
            )

    def _select(self, account: Address, condition: ColumnElement[bool]) -> list[SentTransaction]:
        with self._database.read() as connection:
            rows = connection.execute(
                select(transactions).where(transactions.c.account == account, condition).order_by(transactions.c.nonce)
            ).all()
            return [_load(connection, row) for row in rows]


def _is(account: Address, nonce: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return transactions.c.account == account, transactions.c.nonce == nonce


def _claim(connection: Connection, transaction: SignedTransaction, subject: bytes, now_ms: int) -> None:
    """Move the subject to SUBMITTED, or raise ConflictError, which rolls everything back."""
    if transaction.kind is TransactionKind.FULFILL:
        values = {
            "state": RequestState.SUBMITTED,
            "sent_account": transaction.account,
            "sent_nonce": transaction.nonce,
            "sent_at_ms": now_ms,
        }
        moved = connection.execute(
            update(requests)
            .where(requests.c.request_id == subject, requests.c.state == RequestState.EXECUTED)
            .values(**values)
        )
        if not moved.rowcount:
            actual = connection.execute(select(requests.c.state).where(requests.c.request_id == subject)).scalar()
            raise ConflictError(f"request 0x{subject.hex()}", RequestState.EXECUTED, actual)
    elif transaction.kind is TransactionKind.REGISTER:
        moved = connection.execute(
            update(enclaves)
            .where(enclaves.c.signer == subject, enclaves.c.state == EnclaveState.ATTESTED)
            .values(state=EnclaveState.SUBMITTED)
        )
        if not moved.rowcount:
            actual = connection.execute(select(enclaves.c.state).where(enclaves.c.signer == subject)).scalar()
            raise ConflictError(f"enclave 0x{subject.hex()}", EnclaveState.ATTESTED, actual)


def _release(connection: Connection, account: Address, nonce: int) -> None:
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
    signers = select(subjects.c.subject).where(subjects.c.account == account, subjects.c.nonce == nonce)
    connection.execute(
        update(enclaves)
        .where(enclaves.c.signer.in_(signers), enclaves.c.state == EnclaveState.SUBMITTED)
        .values(state=EnclaveState.DEAD)
    )


def _add_version(connection: Connection, transaction: SignedTransaction, now_ms: int) -> None:
    same = (versions.c.account == transaction.account, versions.c.nonce == transaction.nonce)
    number = connection.execute(select(func.count()).select_from(versions).where(*same)).scalar_one()
    connection.execute(
        versions.insert().values(
            hash=transaction.hash,
            account=transaction.account,
            nonce=transaction.nonce,
            number=number,
            to=transaction.to,
            data=transaction.data,
            gas_limit=transaction.gas_limit,
            max_fee_per_gas=str(transaction.fees.max_fee_per_gas),
            max_priority_fee_per_gas=str(transaction.fees.max_priority_fee_per_gas),
            raw=transaction.raw,
            sent_at_ms=now_ms,
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
