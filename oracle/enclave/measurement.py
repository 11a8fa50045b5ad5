"""
What this build is: a hash over every file that decides what an enclave does.

Measured are all modules of this package that an enclave can load, the JavaScript prelude, `engine.json` (which names
the engine snapshot and its native code by hash), the lock of the dependencies, and the certificate authorities that
names on the web are believed by. The development enclave measures
itself, so this says what an honest build is; that an enclave *is* that build, only hardware can say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from oracle.crypto.domains import MEASUREMENT_DOMAIN
from oracle.crypto.hashing import keccak256
from oracle.enclave.web.roots import ROOTS
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
    "enclave/web/*.py",
    "enclave/prelude/*.js",
    "enclave/engine/engine.json",
)
_LOCK, _ROOTS = "requirements.lock", "roots.pem"
_LOCK_PLACES: Final = (f"enclave/{_LOCK}", f"../{_LOCK}")  # in a wheel; in the repository


def measured_files(package: Path = PACKAGE, roots: Path = ROOTS) -> dict[str, Path]:
    """
    Name -> file, sorted by name. Names do not depend on where the package is.

    Raises:
        ConfigurationError: the engine is not built, or the lock or `roots` is missing.
    """
    files = {path.relative_to(package).as_posix(): path for pattern in _PATTERNS for path in package.glob(pattern)}
    lock = next((package / place for place in _LOCK_PLACES if (package / place).is_file()), None)
    if lock is None:
        raise ConfigurationError("requirements.lock is missing beside the package: reinstall Adyton")
    if "enclave/engine/engine.json" not in files:
        raise ConfigurationError("the JavaScript engine is not built: run `python -m oracle.enclave.build`")
    if not roots.is_file():
        raise ConfigurationError(f"there are no certificate authorities at {roots}")
    return dict(sorted({**files, _LOCK: lock, _ROOTS: roots}.items()))


def measure(package: Path = PACKAGE, roots: Path = ROOTS) -> MeasurementId:
    """The build's measurement, 32 bytes. Raises as `measured_files` does."""
    files = measured_files(package, roots)
    parts = (keccak256(name.encode()) + keccak256(path.read_bytes()) for name, path in files.items())
    return MeasurementId(keccak256(MEASUREMENT_DOMAIN + b"".join(parts)))
