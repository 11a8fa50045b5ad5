"""What the commands share: settings read when needed, the chain, the account that pays, and printing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from oracle import config, log
from oracle.chain.nodes import Nodes
from oracle.chain.rpc import JsonRpc
from oracle.chain.wallet import Wallet
from oracle.config import Settings, read_secret
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import HASH_BYTES
from oracle.types.ids import Address, PoolId, parse_hex
from oracle.types.pool import Pool
from oracle.wiring import open_nodes, open_wallet


@dataclass(frozen=True, slots=True)
class Context:
    """The global options. Nothing is read before a command asks for it, so `--help` always works."""

    config_file: Path | None
    log_level: str | None

    def settings(self, **options: object) -> Settings:
        """
        The settings, with `options` on top; logging is set up by them.

        Raises:
            ConfigurationError: as `config.load`.
        """
        settings = config.load(self.config_file, None, log_level=self.log_level, **options)
        log.set_up(settings.log_format, settings.log_level)
        return settings


pass_context = click.make_pass_decorator(Context)


def connect(settings: Settings) -> Nodes:
    """
    The nodes, after checking that it serves the chain of the settings.

    Raises:
        RetryableError: it does not answer.
        ChainMismatchError: it serves another chain.
    """
    rpc = open_nodes(settings)
    rpc.require_chain(settings.chain_id)
    return rpc


def account(settings: Settings, rpc: JsonRpc) -> Wallet:
    """
    The account that pays for what the command line sends.

    Raises:
        ConfigurationError: no key file is set, or it cannot be used.
    """
    settings.require("account_key_file")
    assert settings.account_key_file is not None
    key = SigningKey(read_secret(settings.account_key_file, "account key"))
    return open_wallet(settings, rpc, key)


def address(settings: Settings, name: str) -> Address:
    """
    The address that the setting `name` holds.

    Raises:
        ConfigurationError: it is not set.
        EncodingError: it is not an address.
    """
    settings.require(name)
    return Address(parse_hex(getattr(settings, name), 20, name))


def pool(settings: Settings) -> Pool:
    """The pool of the settings. Raises as `address`."""
    settings.require("pool_id")
    assert settings.pool_id is not None
    return Pool.from_id(PoolId(parse_hex(settings.pool_id, HASH_BYTES, "pool_id")))


def print_json(document: Any) -> None:
    """One line of JSON on standard output; bytes as `0x…`."""
    click.echo(
        json.dumps(document, default=lambda value: "0x" + value.hex() if isinstance(value, bytes) else str(value))
    )
