"""`status` says what a pool is doing, `doctor` what it lacks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import click
from kombu.exceptions import OperationalError
from rich.console import Console
from rich.table import Table

from oracle import status as pool_status
from oracle.broker import celery_app
from oracle.chain.dcap import DcapOnChain
from oracle.chain.deployment import DEVELOPMENT_CHAIN_ID, INTEL_ROOT, development_root
from oracle.chain.gas import FeePolicy
from oracle.chain.node import RpcNode
from oracle.chain.nodes import Nodes
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import JsonRpc, Rpc, data, without_secrets
from oracle.cli.context import Context, address, pass_context, pool, print_json
from oracle.config import Settings
from oracle.errors import AdytonError, ConfigurationError
from oracle.jobs.enclave_client import EnclaveClient
from oracle.parts import with_one_relay_key
from oracle.store.errors import StoreMissingError
from oracle.store.store import Store
from oracle.types.ids import Address, hex_of
from oracle.wiring import Wiring, enclave_sockets, finality_policy, now_ms, open_nodes

_LOW_BALANCE_SETTLEMENTS = 1_000
_SETTLEMENT_GAS = 60_000
_MAX_CLOCK_SKEW_S = 60
_GWEI = 10**9
_ETHER = 10**18
_LATEST = 20
_STATUS_TIMEOUT_S = 2.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@pass_context
def status(context: Context, as_json: bool) -> None:
    """
    Show what this pool is doing: requests by state and age, money, cursor, enclaves, transactions, the newest requests.

    From its store; how far behind the chain it is and what the relay account has, from the node, if that answers.
    """
    settings = context.settings()
    with Store.open(settings.database) as store:
        document = pool_status.document(store, now_ms(), _LATEST) | {"chain": None, "relay": None}
    with contextlib.suppress(AdytonError):
        document |= _from_node(settings, document["cursor"]["number"])
    if as_json:
        print_json(document)
    else:
        _print_status(Console(soft_wrap=True), document)


def _from_node(settings: Settings, cursor: int) -> dict[str, Any]:
    """What the store does not know. Raises AdytonError if the node, or a setting, is not there."""
    rpc = open_nodes(replace(settings, rpc_timeout_s=min(settings.rpc_timeout_s, _STATUS_TIMEOUT_S)))
    head = _reader(settings, rpc).head()
    found: dict[str, Any] = {"chain": {"head": head.number, "lag_blocks": max(0, head.number - cursor)}}
    with contextlib.suppress(AdytonError):
        relay = Address(Wiring(settings).relay_key.address)
        found["relay"] = {"account": hex_of(relay), "balance_wei": RpcNode(rpc).account(relay).balance_wei}
    return found


def _print_status(console: Console, document: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in document["requests"].items()) or "none yet"
    console.print(f"requests  {counts}")
    for state, waiting in document["queue"].items():
        if waiting["count"]:
            retried = f", {waiting['retried']} tried before" if waiting["retried"] else ""
            console.print(f"{state:<9} {waiting['count']}, the oldest for {waiting['oldest_s']} s{retried}")
    if document["overdue"]:
        console.print(f"overdue   {document['overdue']}, for anybody to expire")
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in document["outcomes"].items())
    if outcomes:
        console.print(f"outcomes  {outcomes}")
    earned, spent = sum(document["fees_earned_wei"].values()), sum(document["gas_spent_wei"].values())
    console.print(f"money     {earned / _ETHER:.6f} ETH of fees earned, {spent / _ETHER:.6f} ETH of gas spent")
    lag = "" if document["chain"] is None else f", {document['chain']['lag_blocks']} behind the node"
    console.print(f"cursor    block {document['cursor']['number']}{lag}")
    if document["relay"] is not None:
        relay = document["relay"]
        console.print(f"relay     {relay['account']}  {relay['balance_wei'] / _ETHER:.6f} ETH")
    for account, sent in document["transactions_in_flight"].items():
        console.print(f"in flight {account}  {sent['count']} transactions, the oldest for {sent['oldest_s']} s")
    for enclave in document["enclaves"]:
        refusal = "" if enclave["refusal"] is None else f"  {enclave['refusal']}"
        waits = f"  {enclave['undelivered']} receipts to settle" if enclave["undelivered"] else ""
        line = (
            f"enclave   {enclave['signer']}  {enclave['state']}  live until {enclave['live_until_s']}{waits}{refusal}"
        )
        console.print(line, markup=False)
    table = Table("request", "state", "outcome", "fee, gwei", "note", box=None)
    for row in document["latest"]:
        fee = "" if row["fee_wei"] is None else str(row["fee_wei"] // _GWEI)
        table.add_row(row["request_id"], row["state"], row["outcome"] or "", fee, row["reason"] or "")
    console.print(table)


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
        ("attestation root", _root),
        ("clock", _clock),
        ("relay account", _relays),
        ("store", _store),
        ("broker", _broker),
        ("enclave", _enclave),
        ("registration", _registration),
    )
    for what, check in checks:
        try:
            yield Finding(what, None, check(settings))
        except AdytonError as error:
            yield Finding(what, str(error))


def _rpc(settings: Settings) -> Nodes:
    return open_nodes(settings)


def _reader(settings: Settings, rpc: JsonRpc) -> ChainReader:
    return ChainReader(rpc, settings.chain_id, address(settings, "coprocessor"))


def _node(settings: Settings) -> str:
    for url in settings.nodes:
        Rpc(url, settings.rpc_timeout_s).require_chain(settings.chain_id)
    finality_policy(settings)
    names = ", ".join(without_secrets(url) for url in settings.nodes)
    return f"{names}: chain {settings.chain_id}, {settings.rpc_agreement} must agree"


def _contracts(settings: Settings) -> str:
    rpc = _rpc(settings)
    _reader(settings, rpc).check()
    for name in ("program_registry", "enclave_registry"):
        where = hex_of(address(settings, name))
        if not data(rpc.call("eth_getCode", where, "latest")):
            raise ConfigurationError(f"there is no contract at {name} {where}: correct the setting, or deploy again")
    return f"coprocessor {settings.coprocessor}"


def _root(settings: Settings) -> str:
    """Whose quotes the pool's registry believes."""
    reader = _reader(settings, _rpc(settings))
    root = DcapOnChain.of_registry(reader, address(settings, "enclave_registry")).root()
    if root == INTEL_ROOT:
        return "Intel's"
    if root != development_root():
        raise ConfigurationError(f"the registry trusts a root that is not Intel's: {hex_of(root[0])}")
    if settings.chain_id != DEVELOPMENT_CHAIN_ID:
        raise ConfigurationError("the registry trusts the development root, under which everybody can forge evidence")
    return "the development PKI's, which proves nothing"


def _registration(settings: Settings) -> str:
    """Whether the newest enclaves of this pool could be registered, and renewed."""
    try:
        with Store.open(settings.database) as store:
            newest = store.enclaves.newest(settings.worker_concurrency)
    except StoreMissingError:
        return "none yet: the pool makes it"
    for enclave in newest:
        if enclave.refusal is not None:
            raise ConfigurationError(f"enclave {hex_of(enclave.signer)} cannot be registered: {enclave.refusal}")
    return f"kept by this pool, collateral from {settings.collateral_source}"


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


def _relays(settings: Settings) -> str:
    """Every relay account that is set."""
    if not settings.relay_keys:
        settings.require("relay_key_file")
    names = [_relay(with_one_relay_key(settings, number)) for number in range(len(settings.relay_keys))]
    return ", ".join(names)


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
