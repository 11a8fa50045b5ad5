"""`status` says what a pool is doing, `doctor` what it lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click
from kombu.exceptions import OperationalError
from rich.console import Console
from rich.table import Table

from oracle.broker import celery_app
from oracle.chain.gas import FeePolicy
from oracle.chain.node import RpcNode
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc, data
from oracle.cli.context import Context, address, pass_context, pool, print_json
from oracle.config import Settings
from oracle.errors import AdytonError, ConfigurationError
from oracle.jobs.enclave_client import EnclaveClient
from oracle.store.errors import StoreMissingError
from oracle.store.store import Store
from oracle.types.ids import Address, hex_of
from oracle.wiring import Wiring, enclave_sockets

_LOW_BALANCE_SETTLEMENTS = 1_000
_SETTLEMENT_GAS = 60_000
_MAX_CLOCK_SKEW_S = 60
_GWEI = 10**9
_LATEST = 20


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@pass_context
def status(context: Context, as_json: bool) -> None:
    """Show what this pool's store knows: requests by state, the newest, cursor, enclaves, transactions in flight."""
    with Store.open(context.settings().database) as store:
        document = _pool_status(store)
    if as_json:
        print_json(document)
        return
    console = Console(soft_wrap=True)
    counts = ", ".join(f"{count} {state}" for state, count in document["requests"].items()) or "none yet"
    console.print(f"requests  {counts}")
    console.print(f"cursor    block {document['cursor']['number']}")
    for enclave in document["enclaves"]:
        console.print(f"enclave   {enclave['signer']}  {enclave['state']}  live until {enclave['live_until_s']}")
    table = Table("request", "state", "outcome", "fee, gwei", "note", box=None)
    for row in document["latest"]:
        fee = "" if row["fee_wei"] is None else str(row["fee_wei"] // _GWEI)
        table.add_row(row["request_id"], row["state"], row["outcome"] or "", fee, row["reason"] or "")
    console.print(table)


def _pool_status(store: Store) -> dict[str, Any]:
    cursor = store.chain.cursor()
    return {
        "requests": {state.value: count for state, count in store.requests.counts().items() if count},
        "cursor": {"number": cursor.number, "hash": hex_of(cursor.hash)},
        "enclaves": [
            {"signer": hex_of(enclave.signer), "state": enclave.state.value, "live_until_s": enclave.live_until_s}
            for enclave in store.enclaves.all()
        ],
        "latest": [
            {
                "request_id": hex_of(stored.request_id),
                "state": stored.state.value,
                "outcome": stored.outcome.name if stored.outcome else None,
                "fee_wei": stored.fee_wei,
                "attempts": stored.attempts,
                "reason": stored.reason,
            }
            for stored in store.requests.latest(_LATEST)
        ],
    }


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, what is wrong with it (None: nothing), and what was seen."""

    what: str
    problem: str | None
    seen: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@pass_context
def doctor(context: Context, as_json: bool) -> None:
    """
    Check everything that a pool needs and say how to mend what is missing.

    Sends nothing and changes nothing. The exit code is 0 only if all is well. The enclave and the embedded broker are
    there only while the pool runs.
    """
    findings = list(_examine(context))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table(box=None, show_header=False)
        for finding in findings:
            mark = "[green]ok[/green]" if finding.problem is None else "[red]fix[/red]"
            table.add_row(mark, finding.what, finding.seen if finding.problem is None else finding.problem)
        Console().print(table)
    click.get_current_context().exit(1 if any(finding.problem for finding in findings) else 0)


def _examine(context: Context) -> Iterator[Finding]:
    """Every check, in the order in which things are needed."""
    try:
        settings = context.settings()
    except ConfigurationError as error:
        yield Finding("settings", str(error))
        return
    yield Finding("settings", None, str(context.config_file or "adyton.toml or environment"))
    checks: tuple[tuple[str, Callable[[Settings], str]], ...] = (
        ("node", _node),
        ("contracts", _contracts),
        ("pool", _pool),
        ("clock", _clock),
        ("relay account", _relay),
        ("store", _store),
        ("broker", _broker),
        ("enclave", _enclave),
    )
    for what, check in checks:
        try:
            yield Finding(what, None, check(settings))
        except AdytonError as error:
            yield Finding(what, str(error))


def _rpc(settings: Settings) -> Rpc:
    return Rpc(settings.rpc_url, settings.rpc_timeout_s)


def _reader(settings: Settings, rpc: Rpc) -> ChainReader:
    return ChainReader(rpc, settings.chain_id, address(settings, "coprocessor"))


def _node(settings: Settings) -> str:
    _rpc(settings).require_chain(settings.chain_id)
    return f"{settings.rpc_url} serves chain {settings.chain_id}"


def _contracts(settings: Settings) -> str:
    rpc = _rpc(settings)
    _reader(settings, rpc).check()
    for name in ("program_registry", "enclave_registry"):
        where = hex_of(address(settings, name))
        if not data(rpc.call("eth_getCode", where, "latest")):
            raise ConfigurationError(f"there is no contract at {name} {where}: correct the setting, or deploy again")
    return f"coprocessor {settings.coprocessor}"


def _pool(settings: Settings) -> str:
    found, registry = pool(settings), address(settings, "enclave_registry")
    if found.verifier != registry:
        raise ConfigurationError(
            f"pool_id names the verifier {hex_of(found.verifier)}, enclave_registry is {hex_of(registry)}"
        )
    prices = (found.base_fee_gwei, found.gas_price_mwei, found.fuel_price_wei_per_1000)
    return "base fee {} gwei, {} mwei per callback gas, {} wei per 1,000 fuel".format(*prices)


def _clock(settings: Settings) -> str:
    skew = _reader(settings, _rpc(settings)).head().timestamp_s - int(time.time())
    if skew > _MAX_CLOCK_SKEW_S:
        raise ConfigurationError(
            f"the chain is {skew} s ahead of this machine: set the clock (a development chain may jump)"
        )
    return "not behind the chain's"


def _relay(settings: Settings) -> str:
    relay = Address(Wiring(settings).relay_key.address)
    state = RpcNode(_rpc(settings)).account(relay)
    fees = FeePolicy.of_gwei(settings.max_fee_per_gas_gwei, settings.max_priority_fee_per_gas_gwei).fees(
        state.base_fee_per_gas
    )
    if fees is None:
        raise ConfigurationError(
            f"gas costs {state.base_fee_per_gas / _GWEI:.2f} gwei, over your max_fee_per_gas_gwei: raise it, or wait"
        )
    left = state.balance_wei // (_SETTLEMENT_GAS * max(1, state.base_fee_per_gas))
    if left < _LOW_BALANCE_SETTLEMENTS:
        raise ConfigurationError(f"{hex_of(relay)} can pay for {left} settlements only: send it ether")
    return f"{hex_of(relay)} has {state.balance_wei / 10**18:.3f} ETH"


def _store(settings: Settings) -> str:
    try:
        with Store.open(settings.database) as store:
            identity = store.chain.identity()
    except StoreMissingError:
        return "none yet: the pool makes it"
    if identity is not None and (identity.chain_id, identity.coprocessor) != (
        settings.chain_id,
        address(settings, "coprocessor"),
    ):
        raise ConfigurationError("the store belongs to another deployment: choose another data_dir or database_url")
    return settings.database.rsplit("@", 1)[-1]


def _broker(settings: Settings) -> str:
    try:
        celery_app(settings).connection_for_write().ensure_connection(max_retries=1, timeout=2)
    except OperationalError as error:
        raise ConfigurationError(f"no broker answers: is the pool running, is broker_url right? ({error})") from error
    return settings.broker.rsplit("@", 1)[-1]


def _enclave(settings: Settings) -> str:
    client = EnclaveClient(enclave_sockets(settings)[0], connect_within_s=0.5)
    signer = client.describe().signer
    live = _reader(settings, _rpc(settings)).live_until(address(settings, "enclave_registry"), signer)
    if not live:
        raise ConfigurationError(
            f"signer {hex_of(signer)} is not live in the registry: is its build approved (`approveMeasurement`), "
            "and is the submitter running?"
        )
    return f"signer {hex_of(signer)}, live until {live} (unix seconds)"
