"""`attestation show` and `attestation verify`: what hardware evidence says, and whether it convinces."""

from __future__ import annotations

import base64
import binascii
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from oracle.attestation.dcap.pck import parse_pck
from oracle.attestation.dcap.quote import PCK_CHAIN, Quote
from oracle.attestation.dcap.reports import SgxReport
from oracle.attestation.errors import NotGenuineError, PolicyError
from oracle.attestation.measurements import (
    dcap_platform,
    nitro_measurement,
    sgx_measurement,
    snp_measurement,
    tdx_measurement,
)
from oracle.attestation.nitro.document import NitroDocument
from oracle.attestation.parts import CollateralParts, recognise
from oracle.attestation.policy import DEFAULT_NITRO_AGE_S, Policy
from oracle.attestation.reader import require_size
from oracle.attestation.roots import VENDOR_ROOTS
from oracle.attestation.snp.report import SnpReport
from oracle.attestation.verifier import Collateral, Evidence, parse, verify
from oracle.attestation.x509 import fingerprint, name_of, read_certificate, read_chain, seconds
from oracle.cli.context import print_json
from oracle.crypto.hashing import keccak256
from oracle.errors import AttestationError, ConfigurationError, EncodingError
from oracle.types.attestation import Attestation, TcbStatus, advisory_text, parse_advisory
from oracle.types.ids import hex_of, parse_hex

MAX_FILE_BYTES: Final = 1_048_576
MAX_FOLDER_FILES: Final = 256
_HEX: Final = re.compile(rb"(?:0[xX])?(?:[0-9a-fA-F]{2})+")
_SIGNING_KEYS: Final = {0: "VCEK", 1: "VLEK"}
_STYLES: Final = {"verdict": "bold not dim"}
_STATUSES: Final = [status.text for status in TcbStatus if status is not TcbStatus.REVOKED]


@click.group()
def attestation() -> None:
    """Show and verify hardware evidence: SGX and TDX quotes, SEV-SNP reports, Nitro documents."""


@attestation.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(file: Path, *, as_json: bool) -> None:
    """
    Print what the evidence in FILE says, without checking that it is true.

    FILE is raw, hexadecimal or base64; what it is, is told from its content.
    """
    described = _describe(parse(read_evidence(file)))
    if as_json:
        print_json(described)
        return
    _print(described)
    click.echo("not verified: use `adyton attestation verify`", err=True)


@attestation.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--collateral",
    "collateral_paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="What the vendor publishes: JSON, certificates, revocation lists. Repeatable. Not needed for Nitro.",
)
@click.option("--at", metavar="TIME", help="Verify as of this time: 2025-07-01, 2025-07-01T12:00:00Z or unix seconds.")
@click.option(
    "--root", type=click.Path(path_type=Path), help="Trust this certificate in place of the vendors' roots. Insecure."
)
@click.option("--accept-status", multiple=True, type=click.Choice(_STATUSES), help="Besides UpToDate. Repeatable.")
@click.option("--accept-advisory", multiple=True, metavar="INTEL-SA-NNNNN", help="Repeatable.")
@click.option(
    "--grace", "grace_days", type=click.IntRange(0), default=0, metavar="DAYS", help="For OutOfDate* statuses."
)
@click.option("--minimum-evaluation", type=click.IntRange(0), default=0, metavar="NUMBER", help="Of Intel's documents.")
@click.option("--platform", "platforms", multiple=True, metavar="0x…", help="Accept listed platforms only. Repeatable.")
@click.option("--max-vmpl", type=click.IntRange(0, 3), default=0, help="SEV-SNP privilege level. Default: 0.")
@click.option("--max-age", type=click.IntRange(0), default=DEFAULT_NITRO_AGE_S, metavar="S", help="Of Nitro documents.")
@click.option("--require-crl", is_flag=True, help="Refuse SEV-SNP evidence without AMD's revocation list.")
@click.option("--own-report-data", is_flag=True, help="Refuse report data that is not 32 bytes and zeros, as pools do.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify_command(file: Path, **options: Any) -> None:
    """
    Verify the evidence in FILE; the exit code is 0 only if it is genuine and accepted.

    Strict unless told otherwise: only UpToDate, no advisories, nothing expired. Left to you: whether measurement and
    report data are those you expect, and whether the evidence is fresh.
    """
    evidence = read_evidence(file)
    found = parse(evidence)
    now_s = int(time.time()) if options["at"] is None else parse_time(options["at"])
    policy = _policy(options)
    result: dict[str, Any] = {"file": str(file), "at": _date(now_s), "accepted": False}
    try:
        collateral = _collateral(found, options["collateral_paths"], now_s)
        accepted = verify(evidence, collateral, now_s, policy)
        result |= {"accepted": True, "genuine": True, **_attestation_fields(accepted)}
    except PolicyError as error:
        fields = {} if error.attestation is None else _attestation_fields(error.attestation)
        result |= {"genuine": error.attestation is not None or None, "refused": list(error.reasons), **fields}
    except AttestationError as error:
        is_known = isinstance(error, NotGenuineError)  # else something is missing, or does not fit
        result |= {"genuine": False if is_known else None, "refused": [str(error)]}
    if policy.is_insecure_development:
        result["root"] = "insecure: given on the command line, this says nothing about a vendor's hardware"
    if options["as_json"]:
        print_json(result)
    else:
        _print(_describe(found) | _readable(result))
    if not result["accepted"]:
        sys.exit(1)


def _policy(options: dict[str, Any]) -> Policy:
    root = options["root"]
    platforms = frozenset(parse_hex(text, 32, "a platform") for text in options["platforms"])
    return Policy(
        accepted_statuses=frozenset({TcbStatus.UP_TO_DATE, *map(TcbStatus.parse, options["accept_status"])}),
        grace_period_s=options["grace_days"] * 86_400,
        minimum_evaluation_number=options["minimum_evaluation"],
        listed_platforms_only=bool(platforms),
        accepted_advisories=frozenset(map(parse_advisory, options["accept_advisory"])),
        allowed_platforms=platforms,
        is_amd_crl_required=options["require_crl"],
        maximum_vmpl=options["max_vmpl"],
        maximum_nitro_age_s=options["max_age"],
        takes_any_report_data=not options["own_report_data"],
        roots=VENDOR_ROOTS if root is None else frozenset({_read_root(root)}),
        is_insecure_development=root is not None,
    )


def _collateral(found: Evidence, paths: tuple[Path, ...], now_s: int) -> Collateral | None:
    """The collateral in files and folders. Raises `AttestationError` if a part is missing, or as `_read`."""
    parts = CollateralParts()
    for path in paths:
        if not path.is_dir():
            try:
                parts.add(_read(path))
            except EncodingError as error:
                raise EncodingError(f"{path} is not collateral: {error}") from error
            continue
        files = sorted(item for item in path.iterdir() if item.is_file())
        require_size(bytes(len(files)), MAX_FOLDER_FILES, f"the number of files in {path}")
        if not sum(recognise(parts, _read(item)) for item in files if item.stat().st_size <= MAX_FILE_BYTES):
            raise ConfigurationError(f"there is no collateral in {path}")
    if isinstance(found, NitroDocument):
        return None
    return parts.for_quote(found, now_s) if isinstance(found, Quote) else parts.for_snp()


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error


def read_evidence(path: Path) -> bytes:
    """The bytes behind raw, hexadecimal or base64 content. Raises `ConfigurationError` if there is no such file."""
    content = _read(path)
    compact = b"".join(content.split())
    if _HEX.fullmatch(compact):
        return bytes.fromhex(compact.decode()[2:] if compact[:2].lower() == b"0x" else compact.decode())
    try:
        return base64.b64decode(compact, validate=True) if compact else content
    except binascii.Error:
        return content


def _read_root(path: Path) -> bytes:
    content = _read(path)
    is_pem = content.lstrip().startswith(b"-----BEGIN")
    certificate = read_chain(content, str(path))[-1] if is_pem else read_certificate(content, str(path))
    return fingerprint(certificate)


def parse_time(text: str) -> int:
    """A time on the command line as unix seconds. Raises `EncodingError`."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise EncodingError(f"{text!r} is not a time: use 2025-07-01, 2025-07-01T12:00:00Z or unix seconds") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _date(unix_s: int) -> str:
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(unix_s)


def _attestation_fields(found: Attestation) -> dict[str, Any]:
    out_of_date = {"out_of_date_since": _date(found.out_of_date_since_s)} if found.out_of_date_since_s else {}
    return {
        "kind": found.kind.value,
        "status": found.status.text,
        "advisories": [advisory_text(number) for number in sorted(found.advisories)],
        **out_of_date,
        "evaluation_number": found.evaluation_number,
        "measurement": found.measurement,
        "report_data": found.report_data,
        **({"report_data_tail": found.report_data_tail} if found.report_data_tail.strip(b"\0") else {}),
        "platform": found.platform,
        "valid_until": _date(found.valid_until_s),
    }


def _readable(result: dict[str, Any]) -> dict[str, Any]:
    """The result with a verdict in words as its last line."""
    rest = {name: value for name, value in result.items() if name not in ("accepted", "genuine", "refused", "file")}
    if result["accepted"]:
        return {**rest, "verdict": "accepted"}
    states = {True: "genuine, but refused", False: "NOT genuine", None: "refused"}
    return {**rest, "verdict": f"{states[result['genuine']]}: {'; '.join(result['refused'])}"}


def _describe(found: Evidence) -> dict[str, Any]:
    if isinstance(found, SnpReport):
        return _describe_report(found)
    return _describe_document(found) if isinstance(found, NitroDocument) else _describe_quote(found)


def _describe_quote(quote: Quote) -> dict[str, Any]:
    report = quote.report
    described: dict[str, Any] = {
        "kind": quote.kind.value,
        "format": f"quote version {quote.header.version}, {'trimmed' if quote.is_trimmed else 'whole'}",
        "debug": report.is_debug,
    }
    if isinstance(report, SgxReport):
        described |= {
            "mr_enclave": report.mr_enclave,
            "mr_signer": report.mr_signer,
            "isv_prod_id": report.isv_prod_id,
            "isv_svn": report.isv_svn,
            "attributes": report.attributes,
            "cpu_svn": report.cpu_svn,
            "measurement": sgx_measurement(quote.body),
        }
    else:
        described |= {
            "mr_td": report.mr_td,
            **{f"rtmr{number}": value for number, value in enumerate(report.rtmrs)},
            "td_attributes": f"{report.td_attributes:#018x}",
            "sept_ve_disable": report.is_sept_ve_disabled,
            "tee_tcb_svn": report.tee_tcb_svn,
            "mr_seam": report.mr_seam,
            **({"mr_service_td": report.mr_service_td} if report.mr_service_td else {}),
            "measurement": tdx_measurement(quote.body),
        }
    described["report_data"] = report.report_data
    if quote.certification_type != PCK_CHAIN:
        return described
    chain = read_chain(quote.certification_data, "the quote's certificate chain")
    pck = parse_pck(chain[0])
    return described | {
        "fmspc": pck.fmspc,
        "ppid": pck.ppid,
        "platform": dcap_platform(pck.ppid, pck.pce_id),
        "certificates": [name_of(certificate) for certificate in chain],
        "certificate_until": _date(min(seconds(certificate.not_valid_after_utc) for certificate in chain)),
    }


def _describe_report(report: SnpReport) -> dict[str, Any]:
    return {
        "kind": "SEV-SNP",
        "format": f"report version {report.version}, signed by {_SIGNING_KEYS.get(report.signing_key, 'nothing')}",
        "product": report.product,
        "debug": report.is_debug,
        "migratable": report.is_migratable,
        "policy": f"{report.policy:#018x}",
        "vmpl": report.vmpl,
        "guest_svn": report.guest_svn,
        "launch_measurement": report.measurement,
        "host_data": report.host_data,
        "reported_tcb": report.reported_tcb,
        "chip_id": report.chip_id,
        "measurement": snp_measurement(report.content),
        "report_data": report.report_data,
        "platform": keccak256(report.chip_id),
    }


def _describe_document(document: NitroDocument) -> dict[str, Any]:
    pcrs = {f"pcr{index}": value for index, value in sorted(document.pcrs.items()) if value.strip(b"\0") or index < 3}
    leaf = read_certificate(document.certificate, "the document's certificate")
    return {
        "kind": "Nitro",
        "format": "COSE_Sign1 document",
        "debug": document.is_debug,
        "module_id": document.module_id,
        "made": _date(document.timestamp_ms // 1000),
        **pcrs,
        "user_data": document.user_data,
        "nonce": document.nonce,
        "public_key": document.public_key,
        "measurement": nitro_measurement(*(document.pcrs[index] for index in (0, 1, 2))),
        "platform": keccak256(document.module_id.encode()),
        "certificate_until": _date(seconds(leaf.not_valid_after_utc)),
    }


def _print(described: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)  # hashes stay in one piece
    width = max(map(len, described))
    for name, value in described.items():
        line = Text(f"{name.replace('_', ' ').ljust(width)}  ", style="dim")
        console.print(line.append(_cell(value), style=_STYLES.get(name, "not dim")))


def _cell(value: Any) -> str:
    """As text. Evidence holds strangers' text, so nothing goes through that a terminal would obey."""
    if isinstance(value, bytes):
        return hex_of(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value) or "none"
    text = "none" if value is None else str(value)
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
