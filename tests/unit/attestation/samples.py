"""
Evidence recorded on real hardware, and a development PKI in place of hardware.

The real files are not in this repository; a test that needs one skips, saying so, where their folder is absent.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oracle.attestation.dcap.collateral import DcapCollateral
from oracle.attestation.development.dcap import DevelopmentPki
from oracle.attestation.parts import CollateralParts
from oracle.attestation.policy import Policy

QUOTES = Path(__file__).parents[4] / "shared" / "vectors" / "quotes"
NOW_S = 1_750_000_000
REPORT_DATA = bytes(range(32))
PKI = DevelopmentPki(now_s=NOW_S - 86_400)
DEVELOPMENT = Policy.development([hashlib.sha256(PKI.root.der).digest()])
ANY_REPORT_DATA = Policy(takes_any_report_data=True, is_amd_crl_required=False)  # for evidence of others


def real(name: str) -> bytes:
    """A recorded file; hexadecimal ones decoded."""
    path = QUOTES / name
    if not path.is_file():
        pytest.skip(f"the recorded evidence {path} is not on this machine")
    content = path.read_bytes()
    return bytes.fromhex(content.decode().strip().removeprefix("0x")) if path.suffix == ".hex" else content


def unix_s(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())


def parts_of(*names: str) -> CollateralParts:
    parts = CollateralParts()
    for name in names:
        parts.add(real(name))
    return parts


def collateral(pki: DevelopmentPki = PKI, tee: str = "TDX", **changes) -> DcapCollateral:
    """Development collateral, through its JSON."""
    return DcapCollateral.parse(pki.collateral(tee, **changes).json().encode())
