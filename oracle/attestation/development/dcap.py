"""
Intel's side of DCAP for one development machine: `DevelopmentPki` makes quotes, and collateral of any status.

    pki = DevelopmentPki(seed, now_s)
    quote = pki.quote(QuoteKind.TDX_V4, report_data, measurement)
    collateral = pki.collateral("TDX", status="OutOfDate", advisories=("INTEL-SA-00960",))

`pki.on(platform)` is another machine under the same root. Nothing here verifies anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from oracle.attestation.development.certificates import (
    Authority,
    Validity,
    make_pck,
    make_pck_authority,
    make_root,
    make_tcb_signer,
)
from oracle.attestation.development.collateral import (
    COLLATERAL_VALID_S,
    DEFAULT_EVALUATION_NUMBER,
    NEW_S,
    OLD_S,
    UP_TO_DATE,
    PublishedCollateral,
    QeIdentity,
    TcbInfo,
    TcbLevel,
)
from oracle.attestation.development.keys import DEVELOPMENT_SEED, p256_key, point_of, sign_p256
from oracle.attestation.development.platform import PckAuthority, Platform
from oracle.attestation.development.quotes import QuoteKind, QuotingEnclave, make_quote
from oracle.attestation.development.reports import SgxReport, TdReport

QE_SVN: Final = 8
_QE_FLAGS: Final = 0x15  # INIT, MODE64BIT, PROVISIONKEY
_DEFAULT_PLATFORM: Final = Platform()


@dataclass(frozen=True)
class DevelopmentPki:
    """
    One machine, and Intel behind it. All bytes depend on the fields alone.

    `now_s` is when collateral is issued unless said otherwise. `validity` changes that of the certificates named root,
    authority, tcb_signer, pck.
    """

    seed: bytes = DEVELOPMENT_SEED
    now_s: int = NEW_S
    platform: Platform = _DEFAULT_PLATFORM
    validity: Mapping[str, Validity] = field(default_factory=dict)

    # certificates

    @cached_property
    def root(self) -> Authority:
        """The root of trust."""
        return make_root(self.seed, self._validity("root"))

    @cached_property
    def pck_authority(self) -> Authority:
        """The authority of this machine's kind."""
        return make_pck_authority(self.seed, self.root, self.platform.authority, self._validity("authority"))

    @cached_property
    def tcb_signer(self) -> Authority:
        """Who signs TCB info and QE identities."""
        return make_tcb_signer(self.seed, self.root, self._validity("tcb_signer"))

    @cached_property
    def pck(self) -> Authority:
        """The machine's PCK."""
        return make_pck(self.seed, self.pck_authority, self.platform, self._validity("pck"))

    @property
    def root_point(self) -> tuple[bytes, bytes]:
        """The root's public key `(x, y)`: what `DcapVerifier` is deployed with."""
        point = point_of(self.root.key)
        return point[:32], point[32:]

    @cached_property
    def pck_chain(self) -> bytes:
        """PEM: PCK, its authority, the root."""
        return self.pck.pem + self.pck_authority.pem + self.root.pem

    def on(self, platform: Platform) -> DevelopmentPki:
        """Another machine under the same root."""
        return replace(self, platform=platform)

    def _validity(self, name: str) -> Validity:
        return self.validity.get(name, Validity())

    # quotes

    def quote(self, kind: QuoteKind, report_data: bytes, build: bytes = bytes(32), **changes: Any) -> bytes:
        """
        A quote of an honest enclave or trust domain over at most 64 bytes of report data.

        `build` is its MRENCLAVE or, padded with zeros, its MRTD; `changes` are those of other report fields.
        """
        data = report_data.ljust(64, b"\0")
        if kind is QuoteKind.SGX_V3:
            return self.quote_of(kind, self.sgx_report(report_data=data, mr_enclave=build, **changes))
        return self.quote_of(kind, self.td_report(report_data=data, mr_td=build.ljust(48, b"\0"), **changes))

    def sgx_report(self, **fields: Any) -> SgxReport:
        """A report of an enclave on this machine."""
        own = {"cpu_svn": bytes(self.platform.cpu_svn), "mr_signer": hashlib.sha256(b"development signer").digest()}
        return SgxReport(**{**own, **fields})

    def td_report(self, **fields: Any) -> TdReport:
        """A report of a trust domain on this machine."""
        svn = bytes(self.platform.tee_tcb_svn)
        own = {"tee_tcb_svn": svn, "tee_tcb_svn_2": svn, "mr_seam": hashlib.sha384(b"development SEAM").digest()}
        return TdReport(**{**own, **fields})

    def quoting_enclave(self, tee: str, *, number: int = 0, svn: int = QE_SVN) -> QuotingEnclave:
        """The machine's QE or TD QE with its attestation key `number`."""
        report = SgxReport(
            cpu_svn=bytes(self.platform.cpu_svn),
            flags=_QE_FLAGS,
            mr_enclave=hashlib.sha256(b"development QE of " + tee.encode()).digest(),
            mr_signer=qe_signer(tee),
            prod_id=_qe_product(tee),
            svn=svn,
        )
        key = p256_key(self.seed, f"attestation key {tee} {self.platform.ppid.hex()} {number}")
        return QuotingEnclave(report, self.pck, key)

    def quote_of(
        self,
        kind: QuoteKind,
        report: SgxReport | TdReport,
        quoting_enclave: QuotingEnclave | None = None,
        chain: bytes | None = None,
    ) -> bytes:
        """A quote of any report, by any quoting enclave, with any chain: for tests of what must be refused."""
        quoting_enclave = quoting_enclave or self.quoting_enclave(kind.tee)
        svns = {"qe_svn": quoting_enclave.report.svn, "pce_svn": self.platform.pce_svn}
        return make_quote(kind, report, quoting_enclave, self.pck_chain if chain is None else chain, **svns)

    # collateral

    def tcb_info(
        self,
        tee: str,
        now_s: int | None = None,
        status: str = UP_TO_DATE,
        advisories: tuple[str, ...] = (),
        **changes: Any,
    ) -> TcbInfo:
        """
        The TCB info by which this machine has `status` and `advisories`.

        Machines that are out of date match the second level, behind a newer one; others match the first of two.
        """
        now_s = self.now_s if now_s is None else now_s
        is_old = status.startswith("OutOfDate")
        own = self._level(0, status, advisories, OLD_S if is_old else NEW_S)
        other = self._level(1, UP_TO_DATE, (), NEW_S) if is_old else self._level(-1, "OutOfDate", advisories, OLD_S)
        levels = (other, own) if is_old else (own, other)
        ids = {"fmspc": self.platform.fmspc, "pce_id": self.platform.pce_id}
        times = {"issued_s": now_s, "next_update_s": now_s + COLLATERAL_VALID_S}
        return TcbInfo(**{"tee": tee, "levels": levels, **ids, **times, **changes})

    def _level(self, better_by: int, status: str, advisories: tuple[str, ...], date_s: int) -> TcbLevel:
        first, *rest = self.platform.cpu_svn
        svns = (max(0, first + better_by), *rest)
        tdx = tuple(self.platform.tee_tcb_svn)
        return TcbLevel(svns, self.platform.pce_svn, tdx, status, advisories, date_s)

    def qe_identity(self, tee: str, now_s: int | None = None, **changes: Any) -> QeIdentity:
        """The identity of this machine's QE or TD QE."""
        now_s = self.now_s if now_s is None else now_s
        times = {"issued_s": now_s, "next_update_s": now_s + COLLATERAL_VALID_S}
        own = {"tee": tee, "mr_signer": qe_signer(tee), "prod_id": _qe_product(tee)}
        return QeIdentity(**{**own, **times, **changes})

    def collateral(
        self,
        tee: str,
        now_s: int | None = None,
        *,
        status: str = UP_TO_DATE,
        advisories: tuple[str, ...] = (),
        evaluation_number: int = DEFAULT_EVALUATION_NUMBER,
        tcb_info: TcbInfo | str | None = None,
        qe_identity: QeIdentity | str | None = None,
        revoked_pcks: Iterable[int] = (),
        revoked_by_root: Iterable[int] = (),
    ) -> PublishedCollateral:
        """
        Everything to verify this machine's quotes with, issued at `now_s`.

        `tcb_info` and `qe_identity` replace the ones that `status`, `advisories` and `evaluation_number` describe; text
        is signed as it is. Revocations are serial numbers, as in `pki.pck.certificate.serial_number`.
        """
        now_s = self.now_s if now_s is None else now_s
        number = {"evaluation_number": evaluation_number}
        info = _text(tcb_info or self.tcb_info(tee, now_s, status, advisories, **number))
        identity = _text(qe_identity or self.qe_identity(tee, now_s, **number))
        until_s, signer_chain = now_s + COLLATERAL_VALID_S, (self.tcb_signer.pem + self.root.pem).decode()
        return PublishedCollateral(
            pck_crl_issuer_chain=(self.pck_authority.pem + self.root.pem).decode(),
            root_ca_crl=self.root.revocation_list(now_s, until_s, revoked_by_root),
            pck_crl=self.pck_authority.revocation_list(now_s, until_s, revoked_pcks),
            tcb_info_issuer_chain=signer_chain,
            tcb_info=info,
            tcb_info_signature=self.sign_document(info),
            qe_identity_issuer_chain=signer_chain,
            qe_identity=identity,
            qe_identity_signature=self.sign_document(identity),
            root=self.root.der,
            pck_authority=self.pck_authority.der,
            tcb_signer=self.tcb_signer.der,
            pck=self.pck.der,
        )

    def sign_document(self, text: str) -> bytes:
        """The TCB signer's signature of a document's text, 64 bytes."""
        return sign_p256(self.tcb_signer.key, text.encode())


def qe_signer(tee: str) -> bytes:
    """MRSIGNER of the development QE or TD QE."""
    return hashlib.sha256(b"development signer of the quoting enclave of " + tee.encode()).digest()


def _qe_product(tee: str) -> int:
    return 2 if tee == "TDX" else 1


def _text(document: TcbInfo | QeIdentity | str) -> str:
    return document if isinstance(document, str) else document.text()


def processor_platform(number: int = 2) -> Platform:
    """Another machine, of the kind that Intel's processor authority certifies."""
    return machine(number, authority=PckAuthority.PROCESSOR)


def machine(number: int, **changes: Any) -> Platform:
    """Machine `number` of the development fleet; number 1 is the default platform."""
    platform = replace(
        _DEFAULT_PLATFORM,
        ppid=_DEFAULT_PLATFORM.ppid[:14] + number.to_bytes(2),
        platform_instance_id=_DEFAULT_PLATFORM.platform_instance_id[:14] + (0x1000 + number).to_bytes(2),
    )
    return replace(platform, **changes)
