"""
Content by its keccak256: blobs and programs, as files in the data directory.

A file is written aside and renamed, so what is there is complete; it is hashed again when read, so what is given out
is what was asked for, or nothing. Programs that are not here are recovered from the chain.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from oracle.crypto.hashing import keccak256
from oracle.errors import ConfigurationError, LimitExceededError
from oracle.jobs.ports import FindContent
from oracle.types.ids import ProgramId
from oracle.types.program import Program

MAX_CONTENT_BYTES = 32 << 20  # leaves room in a frame of 64 MiB


@dataclass(frozen=True, slots=True)
class ContentStore:
    """The files `<directory>/<first two digits>/<hash>`."""

    directory: Path

    def put(self, content: bytes) -> bytes:
        """
        Keep `content` and return its hash. Keeping it again is a no-op.

        Raises:
            LimitExceededError: over `MAX_CONTENT_BYTES`.
            ConfigurationError: the directory cannot be written.
        """
        if len(content) > MAX_CONTENT_BYTES:
            raise LimitExceededError("content size in bytes", MAX_CONTENT_BYTES, len(content))
        content_hash = keccak256(content)
        path = self._path(content_hash)
        if self.get(content_hash) is not None:
            return content_hash
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError as error:
            raise ConfigurationError(f"cannot keep content in {self.directory}: {error}") from error
        return content_hash

    def get(self, content_hash: bytes) -> bytes | None:
        """The bytes behind the hash, or None if they are not here, or no longer what they were."""
        try:
            content = self._path(content_hash).read_bytes()
        except OSError:
            return None
        return content if keccak256(content) == content_hash else None

    def _path(self, content_hash: bytes) -> Path:
        name = content_hash.hex()
        return self.directory / name[:2] / name


class Registry(Protocol):
    """What is read from ProgramRegistry. Every method may raise `RetryableError`."""

    def program(self, program_id: ProgramId) -> Program | None:
        """The hashes behind the id, or None."""
        ...

    def manifest(self, program_id: ProgramId) -> bytes:
        """The manifest of a published program."""
        ...

    def code(self, program_id: ProgramId) -> bytes | None:
        """Its code, or None if that is not on chain."""
        ...


@dataclass(frozen=True, slots=True)
class RegisteredPrograms:
    """Programs of the chain's registry, kept as content once fetched. `oracle.jobs.ports.Programs`."""

    registry: Registry
    store: ContentStore
    _known: dict[ProgramId, Program] = field(default_factory=dict)  # immutable on chain, so a cache cannot be wrong

    def find(self, program_id: ProgramId) -> Program | None:
        """What the id is the hash of, or None if it is not published. May raise `RetryableError`."""
        program = self._known.get(program_id) or self.registry.program(program_id)
        if program is not None:
            self._known[program_id] = program
        return program

    def content(self, program_id: ProgramId) -> FindContent:
        """Finds in the store first, then on chain."""

        def find(content_hash: bytes) -> bytes | None:
            here = self.store.get(content_hash)
            return here if here is not None else self._recover(program_id, content_hash)

        return find

    def _recover(self, program_id: ProgramId, content_hash: bytes) -> bytes | None:
        program = self.find(program_id)
        if program is None:
            return None
        if content_hash == program.manifest_hash:
            fetched: bytes | None = self.registry.manifest(program_id)
        elif content_hash == program.code_hash:
            fetched = self.registry.code(program_id)
        else:
            return None
        if fetched is None or keccak256(fetched) != content_hash:
            return None
        self.store.put(fetched)
        return fetched
