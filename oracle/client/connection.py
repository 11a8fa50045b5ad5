"""What `Adyton` stands on: settings, nodes, the account that pays. Nothing is asked or read before it is needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final, Required, TypedDict

from oracle import config
from oracle.attestation.sources import CollateralSource, open_source
from oracle.chain.gas import FeePolicy
from oracle.chain.nodes import Nodes
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc
from oracle.chain.wallet import Wallet
from oracle.client.errors import OtherVerifierError, SignerNotLiveError
from oracle.config import Settings, read_secret
from oracle.crypto.ecdsa import SigningKey
from oracle.types.ids import Address, PoolId, hex_of, parse_hex
from oracle.types.pool import Pool

_DEVELOPMENT_CHAIN_ID: Final = 31_337
_DEVELOPMENT_POLL_S: Final = 0.05  # a development chain mines at once


class Options(TypedDict, total=False):
    """What there is to say about a deployment, as in `adyton.toml` (`oracle.config.Settings` says more about each)."""

    chain_id: Required[int]
    coprocessor: Required[str | None]  # 0x… text, as all of these
    program_registry: str | None
    pool_id: str | None
    start_block: int
    rpc_agreement: int
    rpc_timeout_s: float
    poll_interval_s: float
    max_fee_per_gas_gwei: float
    max_priority_fee_per_gas_gwei: float
    collateral_source: str


def options_of(settings: Settings) -> Options:
    """The same out of a pool's settings."""
    values: Any = {name: getattr(settings, name) for name in Options.__annotations__}
    options: Options = values
    return options


def read_settings(settings: Settings | Path | str | None) -> Settings:
    """Settings, or those in a file, or those that the command line would take. Raises `ConfigurationError`."""
    if isinstance(settings, Settings):
        return settings
    return config.load(None if settings is None else Path(settings))


@dataclass(frozen=True)
class Connection:
    """One deployment, reached through some nodes, as one account."""

    settings: Settings
    account: SigningKey | Path | None
    sending: Lock = field(default_factory=Lock)  # one transaction after the other: nonces are taken from the chain

    @classmethod
    def of(cls, rpc_urls: str | Sequence[str], account: SigningKey | Path | None, options: Options) -> Connection:
        """From what users give."""
        urls = (rpc_urls,) if isinstance(rpc_urls, str) else tuple(rpc_urls)
        return cls(Settings(rpc_urls=urls, **options), account)

    @property
    def chain_id(self) -> int:
        """Of all nodes."""
        return self.settings.chain_id

    @property
    def poll_s(self) -> float:
        """How long to pause between two looks at the chain."""
        longest_s = _DEVELOPMENT_POLL_S if self.chain_id == _DEVELOPMENT_CHAIN_ID else self.settings.poll_interval_s
        return min(longest_s, self.settings.poll_interval_s)

    @cached_property
    def coprocessor(self) -> Address:
        """The contract that is asked. Raises `ConfigurationError` if it is not set, as the next two."""
        return self._address("coprocessor")

    @cached_property
    def program_registry(self) -> Address:
        """Where programs are published."""
        return self._address("program_registry")

    @cached_property
    def pool(self) -> Pool:
        """The pool that is asked unless another one is named."""
        self.settings.require("pool_id")
        return Pool.from_id(PoolId(parse_hex(self.settings.pool_id or "", 32, "pool_id")))

    @property
    def registry(self) -> Address:
        """Whom we believe about signers: the pool's verifier; without a pool, the coprocessor, which is one."""
        return self.coprocessor if self.settings.pool_id is None else self.pool.verifier

    @cached_property
    def nodes(self) -> Nodes:
        """All nodes as one."""
        settings = self.settings
        rpcs = [Rpc(url, settings.rpc_timeout_s) for url in settings.nodes]
        return Nodes(rpcs, settings.rpc_agreement, chain_id=settings.chain_id)

    @cached_property
    def reader(self) -> ChainReader:
        """
        What the chain says.

        Raises:
            ChainMismatchError: the nodes serve another chain, or there is no such contract.
            RetryableError: they do not answer.
        """
        reader = ChainReader(self.nodes, self.chain_id, self.coprocessor)
        reader.check()
        return reader

    @cached_property
    def wallet(self) -> Wallet:
        """
        The account that pays.

        Raises:
            ConfigurationError: there is no key, or its file cannot be used.
        """
        account = self.account
        if account is None:
            self.settings.require("account_key_file")
            account = self.settings.account_key_file
        assert account is not None
        key = SigningKey(read_secret(account, "account key")) if isinstance(account, Path) else account
        settings = self.settings
        policy = FeePolicy.of_gwei(settings.max_fee_per_gas_gwei, settings.max_priority_fee_per_gas_gwei)
        return Wallet(self.reader.rpc, key, self.chain_id, policy)

    @cached_property
    def source(self) -> CollateralSource:
        """Who knows what vendors say about machines. Raises `ConfigurationError`."""
        return open_source(self.settings.collateral_source)

    def send(self, to: Address, calldata: bytes, value_wei: int = 0) -> dict[str, Any]:
        """The node's transaction receipt of a call that was mined. Raises as `Wallet.send`."""
        wallet = self.wallet
        with self.sending:
            return wallet.send(to, calldata, value_wei)

    def now_s(self) -> int:
        """What the chain's clock shows, or will when its next block is mined: unix seconds."""
        return max(self.reader.head().timestamp_s, int(time.time()))

    def live_until_s(self, pool_id: PoolId, signer: Address) -> int:
        """
        Until when the registry counts a signer that a pool's receipt is by, unix seconds.

        Raises:
            OtherVerifierError: the pool believes another contract. Anybody can make such a pool.
            SignerNotLiveError: the registry does not count it now.
        """
        named = Pool.from_id(pool_id).verifier
        if named != self.registry:
            raise OtherVerifierError(self.registry, named)
        live_until_s = self.reader.live_until(self.registry, signer)
        if live_until_s == 0:
            raise SignerNotLiveError(signer)
        return live_until_s

    def close(self) -> None:
        """Close the connections."""
        if "nodes" in self.__dict__:
            self.nodes.close()

    def _address(self, name: str) -> Address:
        self.settings.require(name)
        return Address(parse_hex(getattr(self.settings, name), 20, name))


def bytes_of(value: bytes | str, size: int, what: str) -> bytes:
    """
    An id or address that users may give as bytes or as `0x…` text.

    Raises:
        EncodingError: not `size` bytes.
    """
    return parse_hex(value if isinstance(value, str) else hex_of(value), size, what)
