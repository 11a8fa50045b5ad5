"""
The engine's files, as `oracle.enclave.build` writes them and the enclave loads them.

`engine.json` carries the sha256 of everything else and is measured. Native code (`.cwasm`) has no integrity check of
its own, so it is loaded only if its sha256 is the recorded one; otherwise it is made again from the snapshot.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import wasmtime

from oracle.enclave.javascript import Addresses
from oracle.errors import ConfigurationError

ENGINE_DIR = Path(__file__).parent / "engine"
RECORD = "engine.json"
SNAPSHOT = "quickjs.wasm"
NATIVE = "quickjs.cwasm"


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What `engine.json` says."""

    quickjs_sha256: str  # of the module as published
    prelude_sha256: str
    snapshot_sha256: str
    native_sha256: str
    target: str
    addresses: Addresses

    def encode(self) -> bytes:
        """The file's bytes."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> EngineRecord:
        """Read the file's bytes; it is our own, so anything wrong with it is a broken build."""
        document = json.loads(data)
        return cls(**{**document, "addresses": Addresses(**document["addresses"])})


def load_javascript(engine: wasmtime.Engine, directory: Path = ENGINE_DIR) -> tuple[wasmtime.Module, Addresses, bool]:
    """
    The JavaScript engine's module, where things are in it, and whether its native code was as recorded.

    Raises:
        ConfigurationError: the files are missing or are not those of `engine.json`.
    """
    try:
        record = EngineRecord.parse((directory / RECORD).read_bytes())
        snapshot = (directory / SNAPSHOT).read_bytes()
        native = (directory / NATIVE).read_bytes()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"the JavaScript engine is not built ({error}): run `python -m oracle.enclave.build`"
        ) from error
    if hashlib.sha256(snapshot).hexdigest() != record.snapshot_sha256:
        raise ConfigurationError("the JavaScript engine's snapshot was changed: run `python -m oracle.enclave.build`")
    if hashlib.sha256(native).hexdigest() == record.native_sha256:
        try:
            return wasmtime.Module.deserialize(engine, native), record.addresses, True
        except wasmtime.WasmtimeError:
            pass  # made for another kind of processor or another wasmtime
    return wasmtime.Module(engine, snapshot), record.addresses, False
