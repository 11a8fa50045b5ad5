"""
Where collateral comes from: Intel's service or a cache of it, a folder, or the development PKI.

A source only fetches. What it gives is checked by whoever uses it, off chain and on chain alike, so a source that lies
can do no more than withhold.
"""

from __future__ import annotations

import hashlib
import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import httpx
from cryptography import x509

from oracle.attestation.dcap.collateral import MAX_COLLATERAL_BYTES, DcapCollateral
from oracle.attestation.dcap.pck import parse_pck
from oracle.attestation.dcap.quote import PCK_CHAIN, Quote
from oracle.attestation.errors import CollateralError
from oracle.attestation.parts import CollateralParts, recognise
from oracle.attestation.reader import require_size
from oracle.attestation.x509 import read_chain
from oracle.errors import ConfigurationError, InvalidInputError, RetryableError
from oracle.types.attestation import TeeKind

INTEL_SERVICE: Final = "https://api.trustedservices.intel.com"
INTEL_ROOT_CRL: Final = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
DEVELOPMENT: Final = "development"
MAX_FOLDER_FILES: Final = 256
_TIMEOUT_S: Final = 10.0
_MAX_KEPT: Final = 8
_BACKDATED_S: Final = 3_600  # the clock of an idle development chain stands still
_CHAIN_HEADERS: Final = ("SGX-PCK-CRL-Issuer-Chain", "TCB-Info-Issuer-Chain", "SGX-Enclave-Identity-Issuer-Chain",
                         "SGX-TCB-Info-Issuer-Chain")  # fmt: skip


class CollateralUnavailableError(RetryableError):
    """The source did not answer, or has not what was asked for. Later it may."""


class CollateralSource(Protocol):
    """Gives the newest collateral for a quote."""

    def collateral(self, quote: Quote, now_s: int) -> DcapCollateral:
        """
        What fits this quote at `now_s`, unix seconds.

        Raises:
            CollateralUnavailableError: not now.
            CollateralError: a part is missing.
            InvalidInputError: the quote's certificates, or what the source gave, cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder of files, in any of the forms that `CollateralParts` reads. Read anew every time."""

    path: Path

    def collateral(self, quote: Quote, now_s: int) -> DcapCollateral:
        """As `CollateralSource`."""
        parts = CollateralParts()
        try:
            files = sorted(Path(entry.path) for entry in os.scandir(self.path) if entry.is_file())
            for file in files[:MAX_FOLDER_FILES]:
                if file.stat().st_size <= MAX_COLLATERAL_BYTES:
                    recognise(parts, file.read_bytes())
        except OSError as error:
            raise CollateralUnavailableError(f"cannot read collateral from {self.path}: {error.strerror}") from error
        return parts.for_quote(quote, now_s)


@dataclass(frozen=True, slots=True)
class ServiceSource:
    """
    Intel's Provisioning Certification Service version 4, or a caching service (PCCS) in front of it.

    Asks for the earliest update. On chain the newest evaluation that anybody brought is the one that counts, so the
    standard update, months behind, may be refused there.

    Source: https://api.portal.trustedservices.intel.com/content/documentation.html
    """

    url: str = INTEL_SERVICE
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=_TIMEOUT_S), compare=False)

    def collateral(self, quote: Quote, now_s: int) -> DcapCollateral:
        """As `CollateralSource`."""
        chain = _chain_of(quote)
        fmspc = parse_pck(chain[0]).fmspc.hex()
        tee = quote.kind.name.lower()
        parts = CollateralParts()
        self._add(parts, f"sgx/certification/v4/pckcrl?ca={_authority(chain[1])}&encoding=der")
        self._add(parts, f"{tee}/certification/v4/tcb?fmspc={fmspc}&update=early")
        self._add(parts, f"{tee}/certification/v4/qe/identity?update=early")
        root_crl = INTEL_ROOT_CRL if self.url == INTEL_SERVICE else f"{self.url}/sgx/certification/v4/rootcacrl"
        self._add_body(parts, root_crl)
        return parts.for_quote(quote, now_s)

    def _add(self, parts: CollateralParts, path: str) -> None:
        for name, value in self._add_body(parts, f"{self.url}/{path}").items():
            if name.lower() in {header.lower() for header in _CHAIN_HEADERS}:
                parts.add(urllib.parse.unquote(value).encode())

    def _add_body(self, parts: CollateralParts, url: str) -> httpx.Headers:
        try:
            with self.client.stream("GET", url) as response:
                content = b""
                for piece in response.iter_bytes():
                    content += piece
                    require_size(content, MAX_COLLATERAL_BYTES, "the answer")
        except (httpx.HTTPError, InvalidInputError) as error:
            raise CollateralUnavailableError(f"no collateral from {url}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise CollateralUnavailableError(f"no collateral from {url}: status {response.status_code}")
        try:
            parts.add(content)
        except InvalidInputError as error:
            raise CollateralUnavailableError(f"what {url} gave is no collateral: {error}") from error
        return response.headers


@dataclass(frozen=True, slots=True)
class DevelopmentSource:
    """Fresh collateral of the development PKI, by which every simulated machine is up to date."""

    def collateral(self, quote: Quote, now_s: int) -> DcapCollateral:
        """As `CollateralSource`."""
        from oracle.attestation.development import dcap, platform  # noqa: PLC0415  # development code, when asked for

        chain = _chain_of(quote)
        known = parse_pck(chain[0])
        machine = platform.Platform(
            ppid=known.ppid,
            fmspc=known.fmspc,
            pce_id=known.pce_id,
            cpu_svn=tuple(known.cpu_svn),
            pce_svn=known.pce_svn,
            tee_tcb_svn=tuple(quote.body[:16]),
            authority=platform.PckAuthority(_authority(chain[1])),
        )
        made = dcap.DevelopmentPki(platform=machine).collateral(quote.kind.name, now_s - _BACKDATED_S)
        parts = CollateralParts()
        parts.add(made.json().encode())
        return parts.for_quote(quote, now_s)


def _chain_of(quote: Quote) -> Sequence[x509.Certificate]:
    if quote.certification_type != PCK_CHAIN:
        raise CollateralError("the quote carries no certificate chain: nobody can be asked about its platform")
    chain = read_chain(quote.certification_data, "the quote's certificate chain")
    if len(chain) < 2:  # the PCK and its authority
        raise CollateralError("the quote's certificate chain lacks the authority of the PCK")
    return chain


def _authority(certificate: x509.Certificate) -> str:
    """Which of Intel's two authorities this is, as their service names them."""
    return "processor" if "Processor" in certificate.subject.rfc4514_string() else "platform"


@dataclass(slots=True)
class CachedSource:
    """Another source, asked once per model, technology and `kept_s` seconds. For one thread."""

    source: CollateralSource
    kept_s: int = 600
    _kept: dict[tuple[TeeKind, str, int], DcapCollateral] = field(default_factory=dict)

    def collateral(self, quote: Quote, now_s: int) -> DcapCollateral:
        """As `CollateralSource`."""
        key = (quote.kind, hashlib.sha256(quote.certification_data).hexdigest(), now_s // self.kept_s)
        if key not in self._kept:
            self._kept = {key: self.source.collateral(quote, now_s), **dict(list(self._kept.items())[: _MAX_KEPT - 1])}
        return self._kept[key]


def open_source(text: str) -> CollateralSource:
    """
    The source that a setting names: `development`, `intel`, the URL of a service, or a folder.

    Raises:
        ConfigurationError: none of these.
    """
    if text == DEVELOPMENT:
        return DevelopmentSource()
    if text == "intel":
        return ServiceSource()
    if text.startswith(("https://", "http://")):
        return ServiceSource(text.rstrip("/"))
    if Path(text).is_dir():
        return FolderSource(Path(text))
    raise ConfigurationError(f"{text!r} is no source of collateral: give intel, a service's URL, or a folder")
