"""
`@phala/dcap-qvl`, a port of the Rust verifier to JavaScript on other cryptography, judges development quotes alike.

One thing that it (0.3.9) does not check and the Rust one does is left out: who signed the TDX module.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oracle.attestation.development.collateral import OLD_S, STATUSES, IsvLevel, PublishedCollateral
from oracle.attestation.development.dcap import DevelopmentPki, machine, processor_platform
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.development.reports import SGX_DEBUG, TD_DEBUG

ROOT = Path(__file__).parents[3]
PACKAGES = Path(os.environ.get("ADYTON_TEST_NODE_MODULES", ROOT / "node_modules"))
NODE = shutil.which("node", path=f"{ROOT / '.venv' / 'bin'}:{os.environ.get('PATH', '')}")
NOW_S = 1_780_000_000
PKI = DevelopmentPki(b"a second opinion", NOW_S)
DATA = bytes(range(64))

pytestmark = pytest.mark.skipif(
    NODE is None or not (PACKAGES / "@phala" / "dcap-qvl").is_dir(), reason="npm package @phala/dcap-qvl is missing"
)


def case(quote: bytes, collateral: PublishedCollateral, *, root: bytes | None = PKI.root.der) -> dict[str, Any]:
    """One question to the verifier; root None is Intel's."""
    document = json.loads(collateral.json())
    return {"quote": quote.hex(), "collateral": document, "root": root.hex() if root else None, "at_s": NOW_S}


def verdicts(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Its answers."""
    command = [str(NODE), str(Path(__file__).with_name("second_opinion.cjs")), str(PACKAGES)]
    lines = "".join(json.dumps(it) + "\n" for it in cases)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_kind_platform_and_status_is_reported_as_made() -> None:
    cases, expected = [], []
    for platform in (machine(1), processor_platform()):
        pki = PKI.on(platform)
        for kind in QuoteKind:
            for status in STATUSES[:-1]:
                collateral = pki.collateral(kind.tee, status=status, advisories=("INTEL-SA-00615",))
                cases.append(case(pki.quote(kind, DATA), collateral))
                expected.append({"status": status, "advisories": ["INTEL-SA-00615"]})
    assert verdicts(cases) == expected


@pytest.mark.parametrize("kind", QuoteKind)
def test_quoting_enclave_out_of_date_is_reported(kind: QuoteKind) -> None:
    levels = (IsvLevel(9), IsvLevel(8, "OutOfDate", ("INTEL-SA-00477",), OLD_S))
    collateral = PKI.collateral(kind.tee, qe_identity=PKI.qe_identity(kind.tee, levels=levels))
    [verdict] = verdicts([case(PKI.quote(kind, DATA), collateral)])
    assert verdict == {"status": "OutOfDate", "advisories": ["INTEL-SA-00477"]}


def _refused() -> dict[str, dict[str, Any]]:
    sgx, tdx, tdx15 = QuoteKind.SGX_V3, QuoteKind.TDX_V4, QuoteKind.TDX_V5_TD15
    for_sgx, for_tdx, pck = PKI.collateral("SGX"), PKI.collateral("TDX"), PKI.pck.certificate.serial_number
    quoting = PKI.quoting_enclave("TDX")
    unbound = PKI.quote_of(tdx, PKI.td_report(report_data=DATA), replace(quoting, bound_data=bytes(64)))
    authority = PKI.pck_authority.certificate.serial_number
    cases = {
        "revoked platform": case(PKI.quote(tdx, DATA), PKI.collateral("TDX", status="Revoked")),
        "revoked PCK": case(PKI.quote(tdx, DATA), PKI.collateral("TDX", revoked_pcks=[pck])),
        "revoked authority": case(PKI.quote(tdx, DATA), PKI.collateral("TDX", revoked_by_root=[authority])),
        "expired": case(PKI.quote(tdx, DATA), PKI.collateral("TDX", NOW_S - 40 * 86_400)),
        "debug enclave": case(PKI.quote(sgx, DATA, flags=5 | SGX_DEBUG), for_sgx),
        "debug domain": case(PKI.quote(tdx, DATA, td_attributes=1 << 28 | TD_DEBUG), for_tdx),
        "interruptible domain": case(PKI.quote(tdx, DATA, td_attributes=0), for_tdx),
        "migration service": case(PKI.quote(tdx15, DATA, mr_service_td=b"\1" * 48), for_tdx),
        "unbound attestation key": case(unbound, for_tdx),
        "other machine type": case(PKI.quote(tdx, DATA), PKI.on(machine(2, fmspc=b"\0\1\2\3\4\5")).collateral("TDX")),
    }
    for kind in QuoteKind:
        collateral = PKI.collateral(kind.tee)
        cases[f"Intel's root, {kind.value}"] = case(PKI.quote(kind, DATA), collateral, root=None)
        other = DevelopmentPki(b"another", NOW_S).root.der
        cases[f"another root, {kind.value}"] = case(PKI.quote(kind, DATA), collateral, root=other)
        for position in (0, 2, 4, 12, 60, 200, 368, 430):
            flipped = bytearray(PKI.quote(kind, DATA))
            flipped[position] ^= 1
            cases[f"byte {position} of {kind.value}"] = case(bytes(flipped), collateral)
    return cases


def test_everything_else_is_refused() -> None:
    cases = _refused()
    answers = dict(zip(cases, verdicts(list(cases.values())), strict=True))
    assert {name: answer for name, answer in answers.items() if "refused" not in answer} == {}
