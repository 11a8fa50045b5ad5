"""
Every error that Adyton raises on purpose. Anything else that escapes is a bug.

    AdytonError                     the message is one sentence: what is wrong, and what to do where that is known
    ├── InvalidInputError           bytes or values that nobody may send; trying again cannot help
    │   ├── EncodingError           not the format it should be (CBOR, JSON, ABI, hex, frame)
    │   └── LimitExceededError      over a cap; carries (what, limit, actual)
    ├── ProjectError                a program's project or source that its author has to change
    ├── ConfigurationError          the operator has to change something
    ├── StoreError                  the database refuses
    ├── ChainError                  the chain answered, and the answer is no
    │   └── ChainMismatchError      another chain, or another history, than this pool was set up for
    ├── AttestationError            evidence that does not convince
    ├── QuoteError                  the platform under an enclave gave no usable quote
    │   └── SealingError            it gave no key to seal with
    ├── EnclaveError                the enclave answered with an error instead of a receipt
    │   └── ContentUnavailableError the host has no bytes for a hash that the program needs
    └── RetryableError              I/O that failed and may be tried again

Hostile bytes raise only `InvalidInputError` and its children.
"""

from __future__ import annotations


class AdytonError(Exception):
    """Base of every expected error."""


class InvalidInputError(AdytonError):
    """Bytes or values that nobody may send."""


class EncodingError(InvalidInputError):
    """Bytes that are not in the format they should be in."""


class LimitExceededError(InvalidInputError):
    """A value over its cap."""

    def __init__(self, what: str, limit: int, actual: int) -> None:
        super().__init__(f"{what} is {actual}, over the limit of {limit}")
        self.what = what
        self.limit = limit
        self.actual = actual


class ProjectError(AdytonError):
    """A program's project, its cases or its source, which its author has to change."""


class ConfigurationError(AdytonError):
    """A setting that is missing, malformed or contradicts what was found."""


class StoreError(AdytonError):
    """The database is missing, locked, of another schema, or refuses a transition."""


class ChainError(AdytonError):
    """The chain answered, and the answer is no."""


class ChainMismatchError(ChainError):
    """The node serves another chain, or another history, than this pool was set up for."""


class AttestationError(AdytonError):
    """Evidence that does not convince."""


class QuoteError(AdytonError):
    """The platform under an enclave gave no usable quote."""


class SealingError(QuoteError):
    """The platform under an enclave gave no key to seal with, or has none to give."""


class EnclaveError(AdytonError):
    """The enclave answered with an error instead of a receipt; `code` names the cause."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ContentUnavailableError(EnclaveError):
    """The host has no bytes for a hash that the program needs."""

    def __init__(self, content_hash: bytes) -> None:
        super().__init__(
            "content_unavailable",
            f"no content 0x{content_hash.hex()} here: publish the code on chain or run `adyton content add FILE`",
        )
        self.content_hash = content_hash


class RetryableError(AdytonError):
    """I/O that failed and may be tried again."""
