"""
How sure we want to be of a block before we act on what it says.

A `Finality` is a number of confirmations (0 is `latest`), or the block that the chain's consensus calls `safe` or
`finalized`. It is chosen by the pool, or for one consumer, when a request is first seen, and kept with the request: a
changed setting is for requests to come. Its code is what the store keeps:

    | 0 | latest: served as soon as its block is seen    | -1 | safe      |
    | n | n blocks on top of its block                   | -2 | finalized |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from oracle.errors import ConfigurationError, EncodingError
from oracle.types.ids import Address, parse_hex

Tag = Literal["latest", "safe", "finalized"]
_CODES: dict[str, int] = {"latest": 0, "safe": -1, "finalized": -2}
_MAX_CONFIRMATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Finality:
    """One choice. Make it with `parse`."""

    code: int

    def __str__(self) -> str:
        """As `parse` reads it."""
        return next((name for name, code in _CODES.items() if code == self.code), str(self.code))

    @property
    def tag(self) -> Tag:
        """The block of the chain that it looks at."""
        return "safe" if self.code == -1 else "finalized" if self.code == -2 else "latest"

    @classmethod
    def parse(cls, text: str) -> Finality:
        """
        `latest`, `safe`, `finalized`, or a number of confirmations.

        Raises:
            ConfigurationError: anything else.
        """
        word = text.strip().lower()
        if word in _CODES:
            return cls(_CODES[word])
        if not (word.isascii() and word.isdecimal()) or int(word) > _MAX_CONFIRMATIONS:
            raise ConfigurationError(
                f"finality must be latest, safe, finalized or a number of confirmations up to {_MAX_CONFIRMATIONS}, "
                f"not {text!r}"
            )
        return cls(int(word))


LATEST, SAFE, FINALIZED = Finality(0), Finality(-1), Finality(-2)


@dataclass(frozen=True, slots=True)
class Heights:
    """How far the chain is, as a node says now. None: it does not say."""

    latest: int
    safe: int | None = None
    finalized: int | None = None


@dataclass(frozen=True, slots=True)
class FinalityPolicy:
    """What a pool chose, and what it chose for single consumers instead."""

    of_pool: Finality = LATEST
    of_consumer: Mapping[Address, Finality] = field(default_factory=dict)

    def of(self, consumer: Address) -> Finality:
        """The choice for a new request of `consumer`."""
        return self.of_consumer.get(consumer, self.of_pool)

    @classmethod
    def parse(cls, of_pool: str, of_consumer: Sequence[str]) -> FinalityPolicy:
        """
        From settings: the pool's choice, and entries of the form `0xconsumer=choice`.

        Raises:
            ConfigurationError: not of that form, or a consumer twice.
        """
        choices: dict[Address, Finality] = {}
        for entry in of_consumer:
            consumer, _, choice = entry.partition("=")
            try:
                address = Address(parse_hex(consumer.strip(), 20, "finality_of_consumer"))
            except EncodingError as error:
                raise ConfigurationError(f"finality_of_consumer: {error}") from error
            if address in choices:
                raise ConfigurationError(f"finality_of_consumer names {consumer.strip()} twice")
            choices[address] = Finality.parse(choice)
        return cls(Finality.parse(of_pool), choices)
