"""
What Intel says about platforms and quoting enclaves: TCB info version 3, QE identity version 2, parsed strictly.

Levels stay in the published order, best first: matching takes the first that fits. Signatures are over the text, and
are the verifier's to check.
Source: Intel SGX and TDX Provisioning Certification Service API version 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from oracle.attestation import strict_json
from oracle.attestation.reader import require_size
from oracle.attestation.strict_json import Members
from oracle.errors import EncodingError
from oracle.types.attestation import TcbStatus, TeeKind, parse_advisory

MAX_DOCUMENT_BYTES: Final = 262_144
MAX_LEVELS: Final = 64
MAX_MODULES: Final = 16
MAX_LEVEL_ADVISORIES: Final = 64
COMPONENTS: Final = 16
QE_IDS: Final = {"QE": TeeKind.SGX, "TD_QE": TeeKind.TDX}
_UINT16: Final = 0xFFFF
_UINT32: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Level:
    """What holds for everything that reaches a level: status, what is known to be wrong, and since when it is said."""

    status: TcbStatus
    advisories: frozenset[int]
    date_s: int
    is_clear: bool = True  # False: it names advisories that are not understood, and convinces nobody who reaches it


@dataclass(frozen=True, slots=True)
class PlatformLevel:
    """A level of a platform: the least versions of its parts."""

    level: Level
    sgx_svns: bytes
    pce_svn: int
    tdx_svns: bytes  # empty for SGX


@dataclass(frozen=True, slots=True)
class IsvLevel:
    """A level of a quoting enclave or of a TDX module: its least version."""

    level: Level
    isv_svn: int


@dataclass(frozen=True, slots=True)
class TdxModule:
    """Who signs a TDX module and which attributes it has; levels for the modules that have an identity of their own."""

    mr_signer: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[IsvLevel, ...]


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """All levels of one model of processor for one technology."""

    kind: TeeKind
    issued_s: int
    next_update_s: int
    fmspc: bytes
    pce_id: bytes
    evaluation_number: int
    levels: tuple[PlatformLevel, ...]
    module: TdxModule | None  # TDX only: for modules of version 0
    modules: Mapping[str, TdxModule]  # TDX only: by id such as TDX_01


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """What a genuine quoting enclave looks like, and its levels."""

    kind: TeeKind
    issued_s: int
    next_update_s: int
    evaluation_number: int
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mr_signer: bytes
    isv_prod_id: int
    levels: tuple[IsvLevel, ...]


def parse_tcb_info(text: str) -> TcbInfo:
    """
    The TCB info that is `text`.

    Raises:
        EncodingError: not a TCB info of version 3, or with a value that is not understood.
        LimitExceededError: over 256 KiB, 64 levels or 16 modules.
    """
    document = _parse(text, "TCB info")
    kind = {"SGX": TeeKind.SGX, "TDX": TeeKind.TDX}.get(document.text("id"))
    if kind is None or document.integer("version", _UINT16) != 3 or document.integer("tcbType", _UINT16) != 0:
        raise EncodingError("this is not a TCB info of version 3 and type 0 for SGX or TDX")
    is_tdx = kind is TeeKind.TDX
    modules: dict[str, TdxModule] = {}
    for entry in document.children("tdxModuleIdentities", MAX_MODULES) if "tdxModuleIdentities" in document else ():
        name = entry.text("id")
        if name in modules:
            raise EncodingError(f"TCB info has the TDX module {name[:80]!r} twice")
        modules[name] = _module(entry, _isv_levels(entry))
    return TcbInfo(
        kind,
        document.date_s("issueDate"),
        document.date_s("nextUpdate"),
        document.octets("fmspc", 6),
        document.octets("pceId", 2),
        document.integer("tcbEvaluationDataNumber", _UINT32),
        tuple(_platform_level(level, is_tdx=is_tdx) for level in document.children("tcbLevels", MAX_LEVELS)),
        _module(document.child("tdxModule"), ()) if is_tdx else None,
        modules,
    )


def parse_qe_identity(text: str) -> QeIdentity:
    """
    The QE identity that is `text`.

    Raises:
        EncodingError: not a QE identity of version 2, or with a value that is not understood.
        LimitExceededError: over 256 KiB or 64 levels.
    """
    document = _parse(text, "QE identity")
    kind = QE_IDS.get(document.text("id"))
    if kind is None or document.integer("version", _UINT16) != 2:
        raise EncodingError("this is not a QE identity of version 2 for SGX or TDX")
    return QeIdentity(
        kind,
        document.date_s("issueDate"),
        document.date_s("nextUpdate"),
        document.integer("tcbEvaluationDataNumber", _UINT32),
        document.octets("miscselect", 4),
        document.octets("miscselectMask", 4),
        document.octets("attributes", 16),
        document.octets("attributesMask", 16),
        document.octets("mrsigner", 32),
        document.integer("isvprodid", _UINT16),
        _isv_levels(document),
    )


def _parse(text: str, what: str) -> Members:
    require_size(text.encode(errors="surrogatepass"), MAX_DOCUMENT_BYTES, what)
    return strict_json.parse(text, what)


def _level(members: Members) -> Level:
    """
    A level. One new word in a document must not make the whole of it unusable, so a status that is not understood
    counts as revoked, and an advisory that is not understood refuses this level alone.
    """
    names = members.values("advisoryIDs", MAX_LEVEL_ADVISORIES) if "advisoryIDs" in members else ()
    advisories, is_clear = set(), True
    for name in names:
        try:
            advisories.add(parse_advisory(name))
        except EncodingError:
            is_clear = False
    try:
        status = TcbStatus.parse(members.text("tcbStatus"))
    except EncodingError:
        status = TcbStatus.REVOKED
    return Level(status, frozenset(advisories), members.date_s("tcbDate"), is_clear)


def _platform_level(members: Members, *, is_tdx: bool) -> PlatformLevel:
    tcb = members.child("tcb")
    return PlatformLevel(
        _level(members),
        _components(tcb.children("sgxtcbcomponents", COMPONENTS)),
        tcb.integer("pcesvn", _UINT16),
        _components(tcb.children("tdxtcbcomponents", COMPONENTS)) if is_tdx else b"",
    )


def _components(components: Iterable[Members]) -> bytes:
    svns = bytes(component.integer("svn", 0xFF) for component in components)
    if len(svns) != COMPONENTS:
        raise EncodingError(f"a TCB level has {len(svns)} components, not {COMPONENTS}")
    return svns


def _isv_levels(members: Members) -> tuple[IsvLevel, ...]:
    levels = members.children("tcbLevels", MAX_LEVELS)
    return tuple(IsvLevel(_level(level), level.child("tcb").integer("isvsvn", _UINT16)) for level in levels)


def _module(members: Members, levels: tuple[IsvLevel, ...]) -> TdxModule:
    return TdxModule(
        members.octets("mrsigner", 48), members.octets("attributes", 8), members.octets("attributesMask", 8), levels
    )
