"""
What Intel publishes about machines: TCB info version 3, QE identity version 2, and all that one verification needs.

Statuses and advisories are text here, because the documents are text and tests want wrong ones too.
Source: Intel SGX and TDX Provisioning Certification Service, API version 4.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

UP_TO_DATE: Final = "UpToDate"
OUT_OF_DATE: Final = "OutOfDate"
STATUSES: Final = (
    UP_TO_DATE,
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    OUT_OF_DATE,
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
OLD_S: Final = 1_699_920_000  # 2023-11-14: the date of levels that are out of date
NEW_S: Final = 1_710_288_000  # 2024-03-13: the date of levels that are not
DEFAULT_EVALUATION_NUMBER: Final = 18
COLLATERAL_VALID_S: Final = 30 * 24 * 3600

_SGX_CATEGORIES: Final[tuple[dict[str, str], ...]] = (
    {"category": "BIOS", "type": "Early Microcode Update"},
    {"category": "OS/VMM", "type": "SGX Late Microcode Update"},
    {"category": "OS/VMM", "type": "TXT SINIT"},
    {"category": "BIOS"},
    {"category": "BIOS"},
    {"category": "BIOS"},
    {},
    {"category": "OS/VMM", "type": "SEAMLDR ACM"},
)
_TDX_CATEGORIES: Final[tuple[dict[str, str], ...]] = (
    {"category": "OS/VMM", "type": "TDX Module"},
    {"category": "OS/VMM", "type": "TDX Module"},
    {"category": "OS/VMM", "type": "TDX Late Microcode Update"},
)


def timestamp(unix_s: int) -> str:
    """As Intel writes times."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class TcbLevel:
    """One line of a TCB info: machines with at least these versions have this status."""

    sgx_svns: tuple[int, ...]
    pce_svn: int
    tdx_svns: tuple[int, ...] = (0,) * 16  # TDX only
    status: str = UP_TO_DATE
    advisories: tuple[str, ...] = ()
    date_s: int = NEW_S

    def document(self, *, is_tdx: bool) -> dict[str, Any]:
        """The JSON object."""
        tcb: dict[str, Any] = {"sgxtcbcomponents": _components(self.sgx_svns, _SGX_CATEGORIES if is_tdx else ())}
        tcb["pcesvn"] = self.pce_svn
        if is_tdx:
            tcb["tdxtcbcomponents"] = _components(self.tdx_svns, _TDX_CATEGORIES)
        return _level(tcb, self.date_s, self.status, self.advisories)


@dataclass(frozen=True, slots=True)
class IsvLevel:
    """One line of a QE identity or of a TDX module identity: enclaves or modules with at least this version."""

    svn: int
    status: str = UP_TO_DATE
    advisories: tuple[str, ...] = ()
    date_s: int = NEW_S

    def document(self) -> dict[str, Any]:
        """The JSON object."""
        return _level({"isvsvn": self.svn}, self.date_s, self.status, self.advisories)


@dataclass(frozen=True, slots=True)
class TdxModule:
    """Who signed the TDX module: `tdxModule`, and with an id and levels one of `tdxModuleIdentities`."""

    mr_signer: bytes = bytes(48)
    attributes: bytes = bytes(8)
    attributes_mask: bytes = b"\xff" * 8
    identity: str | None = None  # such as TDX_01
    levels: tuple[IsvLevel, ...] = ()

    def document(self) -> dict[str, Any]:
        """The JSON object."""
        named = {} if self.identity is None else {"id": self.identity}
        levels = {} if self.identity is None else {"tcbLevels": [level.document() for level in self.levels]}
        return {
            **named,
            "mrsigner": self.mr_signer.hex().upper(),
            "attributes": self.attributes.hex().upper(),
            "attributesMask": self.attributes_mask.hex().upper(),
            **levels,
        }


TDX_MODULES: Final = (
    TdxModule(identity="TDX_03", levels=(IsvLevel(3),)),
    TdxModule(
        identity="TDX_01", levels=(IsvLevel(4), IsvLevel(2, OUT_OF_DATE, ("INTEL-SA-01036", "INTEL-SA-01099"), OLD_S))
    ),
)


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """A TCB info, unsigned. `tee` is SGX or TDX."""

    tee: str
    fmspc: bytes
    pce_id: bytes
    issued_s: int
    next_update_s: int
    levels: tuple[TcbLevel, ...]
    evaluation_number: int = DEFAULT_EVALUATION_NUMBER
    module: TdxModule = field(default_factory=TdxModule)
    modules: tuple[TdxModule, ...] = TDX_MODULES

    def text(self) -> str:
        """The JSON text that is published, and signed."""
        is_tdx = self.tee == "TDX"
        document: dict[str, Any] = {
            "id": self.tee,
            "version": 3,
            "issueDate": timestamp(self.issued_s),
            "nextUpdate": timestamp(self.next_update_s),
            "fmspc": self.fmspc.hex().upper(),
            "pceId": self.pce_id.hex().upper(),
            "tcbType": 0,
            "tcbEvaluationDataNumber": self.evaluation_number,
        }
        if is_tdx:
            document["tdxModule"] = self.module.document()
            document["tdxModuleIdentities"] = [module.document() for module in self.modules]
        document["tcbLevels"] = [level.document(is_tdx=is_tdx) for level in self.levels]
        return json.dumps(document, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """A QE identity, unsigned. `tee` is SGX or TDX."""

    tee: str
    mr_signer: bytes
    issued_s: int
    next_update_s: int
    levels: tuple[IsvLevel, ...] = (IsvLevel(8),)
    evaluation_number: int = DEFAULT_EVALUATION_NUMBER
    prod_id: int = 1
    misc_select: bytes = bytes(4)
    misc_select_mask: bytes = b"\xff" * 4
    attributes: bytes = bytes.fromhex("11") + bytes(15)
    attributes_mask: bytes = bytes.fromhex("fbffffffffffffff") + bytes(8)

    def text(self) -> str:
        """The JSON text that is published, and signed."""
        document = {
            "id": "TD_QE" if self.tee == "TDX" else "QE",
            "version": 2,
            "issueDate": timestamp(self.issued_s),
            "nextUpdate": timestamp(self.next_update_s),
            "tcbEvaluationDataNumber": self.evaluation_number,
            "miscselect": self.misc_select.hex().upper(),
            "miscselectMask": self.misc_select_mask.hex().upper(),
            "attributes": self.attributes.hex().upper(),
            "attributesMask": self.attributes_mask.hex().upper(),
            "mrsigner": self.mr_signer.hex().upper(),
            "isvprodid": self.prod_id,
            "tcbLevels": [level.document() for level in self.levels],
        }
        return json.dumps(document, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class PublishedCollateral:
    """
    All that verifying one machine's quotes takes beside the quote and the root.

    The first nine fields are those of Intel's `sgx_ql_qve_collateral_t` as dcap-qvl names them: chains are PEM, leaf
    first; CRLs are DER; signatures are `r || s`; documents are the exact text that was signed.
    """

    pck_crl_issuer_chain: str
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: bytes
    # the same certificates, one by one, DER
    root: bytes
    pck_authority: bytes
    tcb_signer: bytes
    pck: bytes

    def json(self) -> str:
        """The first nine fields as JSON with bytes in hex: what dcap-qvl and Phala's PCCS tools read and write."""
        names = tuple(self.__dataclass_fields__)[:9]
        values = {name: getattr(self, name) for name in names}
        texts = {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}
        return json.dumps(texts, separators=(",", ":"))

    def tcb_info_document(self) -> str:
        """TCB info and signature as the service answers it: one JSON object around the signed text."""
        return f'{{"tcbInfo":{self.tcb_info},"signature":"{self.tcb_info_signature.hex()}"}}'

    def qe_identity_document(self) -> str:
        """QE identity and signature as the service answers it."""
        return f'{{"enclaveIdentity":{self.qe_identity},"signature":"{self.qe_identity_signature.hex()}"}}'


def _components(svns: tuple[int, ...], categories: tuple[dict[str, str], ...]) -> list[dict[str, Any]]:
    padded = (*categories, *({} for _ in range(len(svns) - len(categories))))
    return [{"svn": svn, **category} for svn, category in zip(svns, padded, strict=True)]


def _level(tcb: dict[str, Any], date_s: int, status: str, advisories: tuple[str, ...]) -> dict[str, Any]:
    level = {"tcb": tcb, "tcbDate": timestamp(date_s), "tcbStatus": status}
    return {**level, "advisoryIDs": list(advisories)} if advisories else level
