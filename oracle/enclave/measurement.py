"""
What this build is: a hash over every file that decides what an enclave does.

Measured are all modules of this package that an enclave can load, the JavaScript prelude, `engine.json` (which names
the engine snapshot and its native code by hash) and the lock of the dependencies. The development enclave measures
itself, so this says what an honest build is; that an enclave *is* that build, only hardware can say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from oracle.crypto.domains import MEASUREMENT_DOMAIN
from oracle.crypto.hashing import keccak256
from oracle.errors import ConfigurationError
from oracle.types.ids import MeasurementId

PACKAGE: Final = Path(__file__).parents[1]
_PATTERNS: Final = (
    "__init__.py",
    "errors.py",
    "log.py",
    "crypto/*.py",
    "types/*.py",
    "keys/*.py",
    "attestation/__init__.py",
    "attestation/measurements.py",
    "attestation/quoter.py",
    "attestation/quoters/*.py",
    "attestation/development/*.py",
    "enclave/*.py",
    "enclave/prelude/*.js",
    "enclave/engine/engine.json",
)
_LOCK = "requirements.lock"
_LOCK_PLACES: Final = (f"enclave/{_LOCK}", f"../{_LOCK}")  # in a wheel; in the repository


def measured_files(package: Path = PACKAGE) -> dict[str, Path]:
    """
    Name -> file, sorted by name. Names do not depend on where the package is.

    Raises:
        ConfigurationError: the engine is not built or the lock is missing.
    """
    files = {path.relative_to(package).as_posix(): path for pattern in _PATTERNS for path in package.glob(pattern)}
    lock = next((package / place for place in _LOCK_PLACES if (package / place).is_file()), None)
    if lock is None:
        raise ConfigurationError("requirements.lock is missing beside the package: reinstall Adyton")
    if "enclave/engine/engine.json" not in files:
        raise ConfigurationError("the JavaScript engine is not built: run `python -m oracle.enclave.build`")
    return dict(sorted({**files, _LOCK: lock}.items()))


def measure(package: Path = PACKAGE) -> MeasurementId:
    """The build's measurement, 32 bytes. Raises as `measured_files` does."""
    parts = (keccak256(name.encode()) + keccak256(path.read_bytes()) for name, path in measured_files(package).items())
    return MeasurementId(keccak256(MEASUREMENT_DOMAIN + b"".join(parts)))
