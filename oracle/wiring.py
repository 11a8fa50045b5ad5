"""
The composition root: the only place that names concrete classes and hands them to each other.

Everything is made from `Settings`. Nothing here decides anything.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from oracle.attestation.sources import CachedSource, open_source
from oracle.broker import CeleryQueue, celery_app
from oracle.chain.dcap import DcapOnChain
from oracle.chain.errors import AccountHeldError
from oracle.chain.gas import FeePolicy
from oracle.chain.node import RpcNode
from oracle.chain.nodes import Nodes
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import JsonRpc, Rpc
from oracle.chain.settlement import open_among
from oracle.chain.submitter import Submitter
from oracle.chain.wallet import Wallet
from oracle.chain.watcher import Watcher
from oracle.config import Settings, read_secret
from oracle.crypto.ecdsa import SigningKey
from oracle.errors import ConfigurationError, EnclaveError, RetryableError
from oracle.jobs.collateral import CollateralDependencies
from oracle.jobs.content import ContentStore, RegisteredPrograms
from oracle.jobs.dialer import Dialer
from oracle.jobs.enclave_client import EnclaveClient
from oracle.jobs.execute import ExecuteDependencies
from oracle.jobs.ports import Enclave
from oracle.jobs.register import RegisterDependencies
from oracle.jobs.submit import SubmitDependencies
from oracle.jobs.sweep import SweepDependencies
from oracle.process import sole_name
from oracle.store.rows import Identity
from oracle.store.store import Store
from oracle.types.block import BlockRef
from oracle.types.finality import FinalityPolicy
from oracle.types.ids import Address, PoolId, ProgramId, RequestId, hex_of, parse_hex
from oracle.types.pool import GWEI
from oracle.types.program import Program

_DEVELOPMENT_CHAIN_ID = 31_337
_BUMP_AFTER_MS = {_DEVELOPMENT_CHAIN_ID: 2_000}  # a development chain mines at once, or has stranded the transaction
_DEFAULT_BUMP_AFTER_MS = 30_000
_WAKE_RECEIPTS = 500
_GATHER_S = 0.2
_CONNECT_WITHIN_S = 3.0  # a thread that waits for its enclave does nothing else


def now_ms() -> int:
    """The host's clock, unix milliseconds."""
    return time.time_ns() // 1_000_000


def open_nodes(settings: Settings) -> Nodes:
    """All nodes of the settings as one."""
    rpcs = [Rpc(url, settings.rpc_timeout_s) for url in settings.nodes]
    return Nodes(rpcs, settings.rpc_agreement, chain_id=settings.chain_id)


def finality_policy(settings: Settings) -> FinalityPolicy:
    """
    How final requests have to be.

    Raises:
        ConfigurationError: the settings contradict each other, or are not readable.
    """
    if settings.finality is not None and settings.confirmations:
        raise ConfigurationError("set `finality` or `confirmations`, not both: they mean the same")
    of_pool = str(settings.confirmations) if settings.finality is None else settings.finality
    return FinalityPolicy.parse(of_pool, settings.finality_of_consumer)


def open_wallet(settings: Settings, rpc: JsonRpc, key: SigningKey) -> Wallet:
    """An account for the command line, which pays what the settings allow."""
    policy = FeePolicy.of_gwei(settings.max_fee_per_gas_gwei, settings.max_priority_fee_per_gas_gwei)
    return Wallet(rpc, key, settings.chain_id, policy)


def enclave_sockets(settings: Settings) -> list[Path]:
    """One socket per enclave of this machine; the first is `settings.socket`."""
    first = settings.socket
    rest = [first.with_name(f"{first.stem}-{number}{first.suffix}") for number in range(1, settings.worker_concurrency)]
    return [first, *rest]


@dataclass(frozen=True)
class Wiring:
    """Makes each thing once, when first asked for. `close` when done."""

    settings: Settings
    create_store: bool = False

    @cached_property
    def store(self) -> Store:
        """The pool's memory."""
        store = Store.open(self.settings.database, create=self.create_store)
        store.chain.max_pending_per_consumer = self.settings.max_pending_per_consumer
        return store

    @cached_property
    def rpc(self) -> Nodes:
        """The nodes."""
        return open_nodes(self.settings)

    @cached_property
    def reader(self) -> ChainReader:
        """What the chain says about our contracts."""
        self.settings.require("coprocessor", "pool_id")
        pool_id = PoolId(parse_hex(self.settings.pool_id or "", 32, "pool_id"))
        check_logs = self.settings.rpc_check_logs
        return ChainReader(self.rpc, self.settings.chain_id, self.address("coprocessor"), pool_id, check_logs)

    @cached_property
    def queue(self) -> CeleryQueue:
        """Wake-up calls."""
        return CeleryQueue(celery_app(self.settings))

    @cached_property
    def relay_key(self) -> SigningKey:
        """The key of the first relay account, from its file."""
        if not self.settings.relay_keys:
            self.settings.require("relay_key_file")
        return SigningKey(read_secret(self.settings.relay_keys[0], "relay key"))

    @cached_property
    def payee(self) -> Address:
        """Who earns the fees, and who operates the enclaves."""
        return self.address("payee") if self.settings.payee is not None else Address(self.relay_key.address)

    @cached_property
    def content(self) -> ContentStore:
        """Blobs and code by hash."""
        return ContentStore(self.settings.content_dir)

    @cached_property
    def submitter(self) -> Submitter:
        """The owner of the relay account's nonce."""
        settings = self.settings
        policy = FeePolicy.of_gwei(settings.max_fee_per_gas_gwei, settings.max_priority_fee_per_gas_gwei)
        bump_after_ms = _BUMP_AFTER_MS.get(settings.chain_id, _DEFAULT_BUMP_AFTER_MS)
        node = RpcNode(self.rpc)
        return Submitter(
            node,
            self.store.journal,
            self.relay_key,
            settings.chain_id,
            policy,
            now_ms,
            bump_after_ms,
            owner=self._owner(Address(self.relay_key.address)),
            lease_ms=int(settings.relay_lease_s * 1_000),
            relieve_after_ms=int(settings.relay_lost_after_s * 1_000),
        )

    def _owner(self, account: Address) -> str:
        """Our name as the owner of `account`: the same after a restart, and no other process has it."""
        path = self.settings.data_dir.resolve() / "relays" / hex_of(account)
        try:
            name = sole_name(path)
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error}") from error
        if name is None:
            raise AccountHeldError(f"another submitter here owns the relay account {hex_of(account)}")
        return name

    @cached_property
    def enclaves(self) -> Enclaves:
        """The enclaves of this machine."""
        reach = self.settings.fetch
        dialer = partial(Dialer, is_on=reach != "no", insecure_loopback=reach == "insecure-loopback")
        return Enclaves(enclave_sockets(self.settings), dialer)

    def address(self, name: str) -> Address:
        """The address in the setting `name`."""
        self.settings.require(name)
        return Address(parse_hex(getattr(self.settings, name), 20, name))

    def watcher(self) -> Watcher:
        """The watcher, bound to a store that belongs to this chain."""
        settings = self.settings
        start = self.reader.block(settings.start_block)
        self.store.chain.adopt(Identity(settings.chain_id, self.address("coprocessor"), start))
        self.store.chain.finality = finality_policy(settings)
        return Watcher(
            self.reader,
            self.store.chain,
            self._wake,
            now_ms,
            max_span_blocks=settings.max_span_blocks,
        )

    def execute(self) -> ExecuteDependencies:
        """For `jobs.execute`."""
        registry = ProgramsOnChain(self.reader, self.address("program_registry"))
        programs = RegisteredPrograms(registry, self.content)
        settings = self.settings
        return ExecuteDependencies(
            self.store,
            programs,
            self.enclaves.of_this_thread,
            self.queue,
            self.payee,
            now_ms,
            settings.deadline_margin_s,
            settings.urgent_within_s,
            f"{socket.gethostname()}:{settings.data_dir.resolve()}",
        )

    def submit(self) -> SubmitDependencies:
        """For `jobs.submit`."""
        registry = self.address("enclave_registry")
        settings = self.settings
        is_checked = settings.profit_check == "yes" or (
            settings.profit_check == "auto" and settings.chain_id != _DEVELOPMENT_CHAIN_ID
        )
        return SubmitDependencies(
            self.store,
            self.submitter,
            registry,
            self.enclaves.with_signer,
            settings.max_batch,
            settings.max_transaction_gas,
            int(settings.minimum_profit_gwei * GWEI) if is_checked else None,
            settings.deadline_margin_s,
            self.peers,
            int(settings.backoff_s * 1_000),
            partial(open_among, self.rpc, self.address("coprocessor")) if self.peers else None,
            gather_s=_GATHER_S,
        )

    @property
    def peers(self) -> tuple[Address, ...]:
        """The operators that serve this pool, if they were named."""
        return tuple(Address(parse_hex(text, 20, "peers")) for text in self.settings.peers)

    def sweep(self) -> SweepDependencies:
        """For `jobs.sweep`."""
        overdue = self.settings.expire_overdue == "yes"
        return SweepDependencies(
            self.store,
            self.queue,
            now_ms,
            expires_overdue=overdue,
            deadline_margin_s=self.settings.deadline_margin_s,
            max_pending_per_consumer=self.settings.max_pending_per_consumer,
        )

    def register(self) -> RegisterDependencies:
        """For `jobs.register`."""
        address = self.address("enclave_registry")
        return RegisterDependencies(
            self.store,
            EnclavesOnChain(self.reader, address),
            self.queue,
            self.collateral(),
            self.settings.chain_id,
            address,
            self.payee,
            now_ms,
            self._wake_receipts,
            started_at_ms=now_ms(),
        )

    def collateral(self) -> CollateralDependencies:
        """For `jobs.collateral`."""
        return CollateralDependencies(
            CachedSource(open_source(self.settings.collateral_source)),
            DcapOnChain.of_registry(self.reader, self.address("enclave_registry")),
            self.store,
            self.queue,
            self._chain_time_s,
            now_ms,
            self.settings.collateral_margin_s,
        )

    def _chain_time_s(self) -> int:
        """What the chain's clock shows, or will when its next block is mined: unix seconds."""
        return max(self.reader.head().timestamp_s, now_ms() // 1_000)

    def close(self) -> None:
        """Close what was opened."""
        if "store" in self.__dict__:
            self.store.close()
        if "rpc" in self.__dict__:
            self.rpc.close()

    def _wake(self, new: Sequence[RequestId]) -> None:
        self.queue.execute(len(new))

    def _wake_receipts(self, signer: Address) -> None:
        for request_id in self.store.requests.executed_by(signer, _WAKE_RECEIPTS):
            self.queue.submit(request_id)


@dataclass(frozen=True, slots=True)
class ProgramsOnChain:
    """`oracle.jobs.content.Registry`."""

    reader: ChainReader
    address: Address

    def program(self, program_id: ProgramId) -> Program | None:
        """The hashes behind the id, or None."""
        return self.reader.program(self.address, program_id)

    def manifest(self, program_id: ProgramId) -> bytes:
        """The manifest of a published program."""
        return self.reader.manifest(self.address, program_id)

    def code(self, program_id: ProgramId) -> bytes | None:
        """Its code, or None if that is not on chain."""
        return self.reader.code(self.address, program_id)


@dataclass(frozen=True, slots=True)
class EnclavesOnChain:
    """`oracle.jobs.register.Registry`."""

    reader: ChainReader
    address: Address

    def anchor(self) -> BlockRef:
        """The block before the newest: the newest is not yet the past for a registration in the same block."""
        head = self.reader.head()
        return self.reader.block(max(0, head.number - 1))

    def live_until(self, signer: Address) -> int:
        """The last second in which `signer` counts, 0 if it does not count now."""
        return self.reader.live_until(self.address, signer)


class Enclaves:
    """Clients of the enclaves of this machine: one per thread and socket."""

    def __init__(self, sockets: list[Path], new_dialer: Callable[[], Dialer] = Dialer) -> None:
        self._sockets = sockets
        self._new_dialer = new_dialer
        self._local = threading.local()
        self._turn = 0
        self._lock = threading.Lock()

    def of_this_thread(self) -> EnclaveClient:
        """The enclave that this thread speaks to; threads take turns over the sockets."""
        if not hasattr(self._local, "client"):
            with self._lock:
                path, self._turn = self._sockets[self._turn % len(self._sockets)], self._turn + 1
            self._local.client = EnclaveClient(path, connect_within_s=_CONNECT_WITHIN_S, dialer=self._new_dialer())
        client: EnclaveClient = self._local.client
        return client

    def each(self) -> list[EnclaveClient]:
        """A client for every enclave, of this thread."""
        if not hasattr(self._local, "each"):
            self._local.each = [EnclaveClient(path, connect_within_s=0.5) for path in self._sockets]
        clients: list[EnclaveClient] = self._local.each
        return clients

    def with_signer(self, signer: Address) -> Enclave | None:
        """The enclave with this key, or None if it is not here or not running."""
        for client in self.each():
            try:
                if client.describe().signer == signer:
                    return client
            except (EnclaveError, RetryableError):
                continue
        return None
