"""Collateral from every kind of source fits the quote it was asked for, and verifies."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from oracle.attestation.dcap.collateral import MAX_COLLATERAL_BYTES
from oracle.attestation.dcap.quote import Quote, parse_quote
from oracle.attestation.dcap.trim import trim
from oracle.attestation.development.dcap import DevelopmentPki, machine, processor_platform
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.errors import CollateralError
from oracle.attestation.policy import Policy
from oracle.attestation.sources import (
    CollateralSource,
    CollateralUnavailableError,
    DevelopmentSource,
    FolderSource,
    ServiceSource,
    open_source,
)
from oracle.attestation.verifier import verify
from oracle.crypto.hashing import keccak256
from oracle.errors import ConfigurationError
from oracle.types.attestation import TcbStatus

NOW_S = 1_800_000_000
PKI = DevelopmentPki(now_s=NOW_S, platform=machine(7))
REPORT_DATA = keccak256(b"report")


class Service:
    """The endpoints of a caching service (PCCS) that fetching uses, over the development PKI."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken: dict[str, tuple[int, bytes]] = {}  # part of a path -> what is answered instead
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                status, body, headers = outer.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        for part, (status, body) in self.broken.items():
            if part in path:
                return status, body, {}
        tee = "TDX" if path.startswith("/tdx/") else "SGX"
        made = PKI.collateral(tee, NOW_S)
        signer = {"TCB-Info-Issuer-Chain": urllib.parse.quote(made.tcb_info_issuer_chain)}
        if "/pckcrl" in path:
            return 200, made.pck_crl, {"SGX-PCK-CRL-Issuer-Chain": urllib.parse.quote(made.pck_crl_issuer_chain)}
        if "/rootcacrl" in path:
            return 200, made.root_ca_crl.hex().encode(), {}
        if f"/tcb?fmspc={PKI.platform.fmspc.hex()}" in path:
            return 200, made.tcb_info_document().encode(), signer
        if "/qe/identity" in path:
            body = made.qe_identity_document().encode()
            return 200, body, {"SGX-Enclave-Identity-Issuer-Chain": signer["TCB-Info-Issuer-Chain"]}
        return 404, b"", {}


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def quote_of(kind: QuoteKind, pki: DevelopmentPki = PKI) -> Quote:
    return parse_quote(pki.quote(kind, REPORT_DATA))


def assert_verifies(source: CollateralSource, kind: QuoteKind, pki: DevelopmentPki = PKI) -> None:
    policy = Policy.development([hashlib.sha256(pki.root.der).digest()])
    evidence = pki.quote(kind, REPORT_DATA)
    attestation = verify(evidence, source.collateral(parse_quote(evidence), NOW_S), NOW_S, policy)
    assert (attestation.status, attestation.report_data) == (TcbStatus.UP_TO_DATE, REPORT_DATA)


@pytest.mark.parametrize("kind", list(QuoteKind))
def test_collateral_of_a_service_verifies_the_quote(service: Service, kind: QuoteKind) -> None:
    assert_verifies(ServiceSource(service.url), kind)
    assert any("ca=platform" in path for path in service.asked)


@pytest.mark.parametrize("kind", list(QuoteKind))
def test_collateral_of_the_development_source_verifies_the_quote(kind: QuoteKind) -> None:
    assert_verifies(DevelopmentSource(), kind)
    assert_verifies(DevelopmentSource(), kind, DevelopmentPki(platform=processor_platform()))


def test_collateral_of_a_folder_is_the_newest_that_fits(tmp_path: Path) -> None:
    for age_days in (0, 3):
        made = PKI.collateral("TDX", NOW_S - age_days * 86_400)
        (tmp_path / f"all-{age_days}.json").write_text(made.json())
    (tmp_path / "notes.txt").write_text("not collateral")
    collateral = FolderSource(tmp_path).collateral(quote_of(QuoteKind.TDX_V4), NOW_S)
    assert collateral.tcb_info == PKI.collateral("TDX", NOW_S).tcb_info
    assert_verifies(FolderSource(tmp_path), QuoteKind.TDX_V4)
    with pytest.raises(CollateralError, match="TCB info"):
        FolderSource(tmp_path).collateral(quote_of(QuoteKind.SGX_V3), NOW_S)


def test_collateral_of_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(CollateralUnavailableError, match="cannot read"):
        FolderSource(tmp_path / "none").collateral(quote_of(QuoteKind.SGX_V3), NOW_S)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (404, b"", "status 404"),
        (503, b"busy", "status 503"),
        (200, b"<html>", "no collateral"),
        (200, json.dumps({"tcbInfo": 1}).encode(), "no collateral"),
    ],
)
def test_collateral_of_a_broken_service_is_unavailable(service: Service, status: int, body: bytes, why: str) -> None:
    for part in ("/tcb?", "/qe/identity", "/pckcrl", "/rootcacrl"):
        service.broken = {part: (status, body)}
        with pytest.raises(CollateralUnavailableError, match=why):
            ServiceSource(service.url).collateral(quote_of(QuoteKind.TDX_V4), NOW_S)


def test_collateral_of_endless_size_is_not_read_to_its_end(service: Service) -> None:
    service.broken = {"/tcb?": (200, bytes(MAX_COLLATERAL_BYTES + 1))}
    with pytest.raises(CollateralUnavailableError, match="no collateral"):
        ServiceSource(service.url).collateral(quote_of(QuoteKind.TDX_V4), NOW_S)


def test_collateral_of_a_service_that_is_away_is_unavailable() -> None:
    with pytest.raises(CollateralUnavailableError, match="no collateral from"):
        ServiceSource("http://127.0.0.1:1").collateral(quote_of(QuoteKind.SGX_V3), NOW_S)


def test_collateral_for_a_trimmed_quote_has_nobody_to_ask(service: Service) -> None:
    trimmed = parse_quote(trim(quote_of(QuoteKind.TDX_V4)))
    for source in (ServiceSource(service.url), DevelopmentSource()):
        with pytest.raises(CollateralError, match="no certificate chain"):
            source.collateral(trimmed, NOW_S)


def test_open_source_reads_what_a_setting_may_say(tmp_path: Path) -> None:
    assert open_source("development") == DevelopmentSource()
    assert open_source("intel") == ServiceSource()
    assert open_source("https://pccs.example/") == ServiceSource("https://pccs.example")
    assert open_source(str(tmp_path)) == FolderSource(tmp_path)
    with pytest.raises(ConfigurationError, match="no source of collateral"):
        open_source("nonsense")
