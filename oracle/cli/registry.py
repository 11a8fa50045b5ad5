"""`registry`: what the owner of the contracts decides: builds, their conditions, machines, keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from oracle.attestation.policy import Policy
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.chain.reader import ChainReader
from oracle.cli.context import Context, account, address, connect, pass_context, print_json
from oracle.crypto.hashing import HASH_BYTES
from oracle.enclave.measurement import measure
from oracle.types.attestation import TcbStatus, advisory_text, parse_advisory, unpack_advisories
from oracle.types.ids import Address, hex_of, parse_hex

_REGISTRY: Final = "EnclaveRegistry"
_STATUSES: Final = [status.text for status in TcbStatus if status is not TcbStatus.REVOKED]
_STANDINGS: Final = ("unlisted", "allowed", "denied")
_DAY_S: Final = 24 * 3600
_Command = TypeVar("_Command", bound=Callable[..., Any])


def policy_options(command: _Command) -> _Command:
    """The options that `policy_of` reads."""
    for option in (
        click.option("--listed-platforms-only", is_flag=True, help="Only machines that were allowed by name."),
        click.option("--minimum-evaluation", type=click.IntRange(0), default=0, metavar="NUMBER",
                     help="The oldest tcbEvaluationDataNumber that counts."),
        click.option("--grace", "grace_days", type=click.IntRange(0), default=0, metavar="DAYS",
                     help="How long machines of an accepted status may register after they fell out of date."),
        click.option("--accept-advisory", "advisories", multiple=True, metavar="INTEL-SA-NNNNN",
                     help="An advisory that may stand open. Repeatable."),
        click.option("--accept-status", "statuses", multiple=True, type=click.Choice(_STATUSES),
                     help="Besides UpToDate. Repeatable."),
    ):  # fmt: skip
        command = option(command)
    return command


def policy_of(
    statuses: tuple[str, ...],
    advisories: tuple[str, ...],
    grace_days: int,
    minimum_evaluation: int,
    *,
    listed_platforms_only: bool,
) -> Policy:
    """
    The policy that the options describe; without any, only UpToDate with no open advisory.

    Raises:
        EncodingError, ConfigurationError: an advisory is none.
    """
    return Policy(
        accepted_statuses=frozenset({TcbStatus.UP_TO_DATE, *(TcbStatus.parse(text) for text in statuses)}),
        grace_period_s=grace_days * _DAY_S,
        minimum_evaluation_number=minimum_evaluation,
        listed_platforms_only=listed_platforms_only,
        accepted_advisories=frozenset(map(parse_advisory, advisories)),
    )


@click.group()
def registry() -> None:
    """Approve and revoke builds, machines and keys. For the contracts' owner, who pays from `account_key_file`."""


@registry.command()
@click.argument("measurement", required=False)
@policy_options
@pass_context
def approve(context: Context, /, measurement: str | None, **options: Any) -> None:
    """
    Accept the build MEASUREMENT under the given conditions. Default: the build that is installed here, simulated.

    `adyton attestation show` prints the measurement of a quote. Approved already? Then its conditions are replaced.
    """
    named = (
        simulated_measurement(measure()) if measurement is None else parse_hex(measurement, HASH_BYTES, "measurement")
    )
    function = "setPolicy" if _view(context, "isApproved", named) else "approveMeasurement"
    _send(context, function, named, policy_of(**options).onchain())
    click.echo(f"approved {hex_of(named)}")


@registry.command()
@click.argument("measurement")
@pass_context
def revoke(context: Context, measurement: str) -> None:
    """Reject the build MEASUREMENT, and with it at once every key that registered under it."""
    _send(context, "revokeMeasurement", parse_hex(measurement, HASH_BYTES, "measurement"))
    click.echo(f"revoked {measurement}")


@registry.command("revoke-key")
@click.argument("signer")
@pass_context
def revoke_key(context: Context, signer: str) -> None:
    """End the enclave key SIGNER for good. Its operator may do this, too."""
    _send(context, "revokeEnclave", Address(parse_hex(signer, 20, "signer")))
    click.echo(f"revoked {signer}")


@registry.command()
@click.argument("decision", type=click.Choice(["allow", "deny", "forget"]))
@click.argument("platform")
@pass_context
def platform(context: Context, decision: str, platform: str) -> None:
    """
    Allow, deny or forget the machine PLATFORM. Denied or forgotten, every key on it is dead at once.

    `adyton attestation show` prints the platform of a quote.
    """
    _send(context, f"{decision}Platform", parse_hex(platform, HASH_BYTES, "platform"))
    click.echo(f"{decision}: {platform}")


@registry.command()
@click.argument("identifier")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@pass_context
def show(context: Context, identifier: str, *, as_json: bool) -> None:
    """Say what the registry knows of a measurement or platform (32 bytes), or of a signer (20 bytes)."""
    if len(identifier.removeprefix("0x")) == 2 * 20:
        known = _signer(context, Address(parse_hex(identifier, 20, "signer")))
    else:
        known = _build_or_machine(context, parse_hex(identifier, HASH_BYTES, "measurement or platform"))
    if as_json:
        print_json(known)
        return
    for name, value in known.items():
        click.echo(f"{name.replace('_', ' '):24} {hex_of(value) if isinstance(value, bytes) else value}")


def _signer(context: Context, signer: Address) -> dict[str, Any]:
    measurement, operator, live_until, live, machine = _view(context, "enclave", signer)
    return {
        "measurement": measurement,
        "operator": operator,
        "live": live,
        "live_until_s": live_until,
        "platform": machine,
    }


def _build_or_machine(context: Context, identifier: bytes) -> dict[str, Any]:
    is_approved = _view(context, "isApproved", identifier)
    known: dict[str, Any] = {
        "approved": is_approved,
        "platform_is": _STANDINGS[_view(context, "standingOf", identifier)],
    }
    if is_approved:
        statuses, grace_s, evaluation, listed, advisories = _view(context, "policyOf", identifier)
        known |= {
            "accepted_statuses": ", ".join(status.text for status in TcbStatus if statuses >> status & 1),
            "grace_period_s": grace_s,
            "minimum_evaluation": evaluation,
            "listed_platforms_only": listed,
            "accepted_advisories": ", ".join(map(advisory_text, sorted(unpack_advisories(advisories)))),
        }
    return known


def _view(context: Context, function: str, *arguments: Any) -> Any:
    settings = context.settings()
    coprocessor = address(settings, "coprocessor")
    reader = ChainReader(connect(settings), settings.chain_id, coprocessor)
    return reader.view(_REGISTRY, address(settings, "enclave_registry"), function, *arguments)


def _send(context: Context, function: str, *arguments: Any) -> None:
    settings = context.settings()
    wallet = account(settings, connect(settings))
    wallet.call(_REGISTRY, address(settings, "enclave_registry"), function, *arguments)
