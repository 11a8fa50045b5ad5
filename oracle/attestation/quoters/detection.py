"""
Choose a quoter: the one that is named, or the one whose interface is there.

    auto                            the first of gramine, nitro, dstack, configfs that is there; simulated if none is
    gramine nitro dstack configfs   that one, or an error; with :PATH if its interface is not at the usual place
    simulated[:KIND[:MACHINE]]      the development PKI; KIND sgx-v3 (default), tdx-v4, tdx-v5 or tdx-v5-td15

Gramine comes first because nothing else exists inside an SGX enclave; dstack before configfs because its agent owns
the trust domain's reports. An interface that is there and does not work is an error: `auto` never falls back to a
simulation on a machine that has hardware.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from oracle.attestation.quoter import Quoter
from oracle.attestation.quoters.configfs import TSM_DIR, ConfigfsQuoter
from oracle.attestation.quoters.dstack import DSTACK_SOCKETS, DstackQuoter
from oracle.attestation.quoters.gramine import GRAMINE_DIR, GramineQuoter
from oracle.attestation.quoters.nitro import NSM, NitroQuoter
from oracle.errors import ConfigurationError
from oracle.types.ids import MeasurementId

AUTO, SIMULATED = "auto", "simulated"
HARDWARE = ("gramine", "nitro", "dstack", "configfs")
_LOG = logging.getLogger("enclave")


@dataclass(frozen=True, slots=True)
class Interfaces:
    """Where the platforms' interfaces are."""

    gramine: Path = GRAMINE_DIR
    nitro: Path = NSM
    dstack: tuple[Path, ...] = DSTACK_SOCKETS
    configfs: Path = TSM_DIR

    def present(self) -> list[str]:
        """The names of those that are there, best first."""
        there = {
            "gramine": (self.gramine / "attestation_type").exists(),
            "nitro": self.nitro.exists(),
            "dstack": any(path.exists() for path in self.dstack),
            "configfs": self.configfs.is_dir(),
        }
        return [name for name in HARDWARE if there[name]]

    def open(self, name: str, path: Path | None = None) -> Quoter:
        """The hardware quoter `name`, at `path` if that is given. Raises QuoteError."""
        match name:
            case "gramine":
                return GramineQuoter(path or self.gramine)
            case "nitro":
                return NitroQuoter(path or self.nitro)
            case "dstack":
                return DstackQuoter(path or next((path for path in self.dstack if path.exists()), self.dstack[0]))
            case _:
                return ConfigfsQuoter(path or self.configfs)


def open_quoter(selection: str, build: MeasurementId, interfaces: Interfaces | None = None) -> Quoter:
    """
    The quoter that `selection` asks for. `build` is this build's hash, for quoters that measure nothing themselves.

    Raises:
        ConfigurationError: there is no such quoter.
        QuoteError: its interface is missing or does not work.
    """
    interfaces = interfaces or Interfaces()
    present = interfaces.present()
    name, _, rest = selection.partition(":")
    if name == AUTO and not rest:
        name = present[0] if present else SIMULATED
    if name in HARDWARE:
        return interfaces.open(name, Path(rest) if rest else None)
    if name != SIMULATED:
        known = ", ".join((AUTO, *(f"{it}[:PATH]" for it in HARDWARE), f"{SIMULATED}[:KIND[:MACHINE]]"))
        raise ConfigurationError(f"there is no quoter {selection!r}: choose one of {known}")
    if present:
        _LOG.warning("quotes are simulated although this machine offers %s", ", ".join(present))
    return _simulated(rest, build)


def _simulated(options: str, build: MeasurementId) -> Quoter:
    from oracle.attestation.development.quotes import QuoteKind  # noqa: PLC0415  # development code, when asked for
    from oracle.attestation.quoters.simulated import DEFAULT_KIND, SimulatedQuoter  # noqa: PLC0415

    kind, _, number = options.partition(":")
    try:
        chosen = QuoteKind(kind) if kind else DEFAULT_KIND
        machine = int(number) if number else 1
    except ValueError as error:
        raise ConfigurationError(
            f"simulated:{options} is not simulated[:KIND[:MACHINE]] with KIND {', '.join(it.value for it in QuoteKind)}"
        ) from error
    if not 0 < machine < 1 << 16:
        raise ConfigurationError(f"simulated machines have numbers from 1 to 65535, not {machine}")
    _LOG.warning("quotes are simulated: they prove nothing about this machine")
    return SimulatedQuoter(build, chosen, machine)
