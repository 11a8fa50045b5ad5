"""
Why the database refuses.

    StoreError
    ├── StoreMissingError          no such file or database, or it went away under us
    ├── StoreUnreachableError      cannot be opened, written or reached; also a RetryableError
    ├── StoreLockedError           somebody holds the lock for longer than the busy timeout; also a RetryableError
    ├── SchemaMismatchError        a database of another version, or not one of ours
    └── ConflictError              a compare-and-set lost: somebody else moved it; carries (what, expected, actual)
        ├── CursorMovedError       another watcher advanced the cursor; also a RetryableError
        ├── NonceTakenError        another submitter took the nonce; also a RetryableError
        ├── AccountLostError       another submitter took the relay account over; also a RetryableError
        └── RowTakenError          another process wrote the same row first; also a RetryableError
"""

from __future__ import annotations

from oracle.errors import RetryableError, StoreError


class StoreMissingError(StoreError):
    """No such database."""


class StoreUnreachableError(StoreError, RetryableError):
    """The database cannot be opened, written or reached now."""


class StoreLockedError(StoreError, RetryableError):
    """The database is locked by somebody else."""


class SchemaMismatchError(StoreError):
    """The database has another schema."""


class ConflictError(StoreError):
    """A compare-and-set lost against somebody else. Nothing was written."""

    def __init__(self, what: str, expected: object, actual: object) -> None:
        super().__init__(f"{what} is {actual}, not {expected}: somebody else moved it first")
        self.what = what
        self.expected = expected
        self.actual = actual


class CursorMovedError(ConflictError, RetryableError):
    """Another watcher advanced the cursor."""


class NonceTakenError(ConflictError, RetryableError):
    """Another submitter took the nonce."""


class AccountLostError(ConflictError, RetryableError):
    """Another process owns the relay account now."""


class RowTakenError(ConflictError, RetryableError):
    """Another process wrote the same row first."""
