"""
Settings: every knob of the host side in one typed place, with units and defaults.

Read in this order, the later wins: defaults, `adyton.toml`, `ADYTON_*` environment variables, command-line options.
Unknown keys are refused. Secrets are never values here, only paths to files.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from oracle.errors import ConfigurationError

ENVIRONMENT_PREFIX = "ADYTON_"
DEFAULT_CONFIG_FILE = "adyton.toml"
_DEPLOYED = ("coprocessor", "enclave_registry", "program_registry", "pool_id")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one pool on one machine is set up to do. Addresses and ids are `0x…` text; `None` means not set."""

    # chain
    rpc_url: str = "http://127.0.0.1:8545"  # several by commas, the preferred first; or as a list in `rpc_urls`
    rpc_urls: tuple[str, ...] = ()
    rpc_agreement: int = 1  # how many nodes must say the same before it decides something
    rpc_check_logs: Literal["bloom", "receipts", "no"] = "bloom"  # against one node that leaves logs out
    ws_url: str | None = None  # new-head subscription, one of several by commas; without it the watcher polls
    chain_id: int = 31337
    coprocessor: str | None = None
    enclave_registry: str | None = None
    program_registry: str | None = None
    pool_id: str | None = None
    start_block: int = 0  # the deployment's block: nothing of ours is before it
    finality: str | None = None  # before a request is served: latest, safe, finalized or a number of confirmations
    finality_of_consumer: tuple[str, ...] = ()  # `0xconsumer=choice`: instead of the above; in a file also a table
    confirmations: int = 0  # the same as `finality` with a number
    poll_interval_s: float = 1.0
    max_span_blocks: int = 1_000  # per eth_getLogs call
    rpc_timeout_s: float = 10.0

    # relay accounts
    relay_key_file: Path | None = None
    relay_key_files: tuple[Path, ...] = ()  # further accounts: each has a submitter, all deliver in parallel
    relay_lease_s: float = 30.0  # a submitter that vanished has lost its account then, to one with the same key
    relay_lost_after_s: float = 300.0  # what it sent, and nobody mined, is given to other accounts then
    payee: str | None = None  # who earns the fees; default: the relay account
    max_fee_per_gas_gwei: float = 500.0
    max_priority_fee_per_gas_gwei: float = 1.0
    max_batch: int = 256  # receipts in one transaction
    max_transaction_gas: int = 1 << 24  # EIP-7825's limit; some chains have a lower one
    profit_check: Literal["auto", "yes", "no"] = "auto"  # deliver only what pays for its gas; auto: not on chain 31337
    minimum_profit_gwei: float = 0.0  # of each request, if profit is checked
    peers: tuple[str, ...] = ()  # payees of all operators that serve this pool: they take turns by a hash
    backoff_s: float = 10.0  # between their turns; longer than it takes from request to settlement

    # the account that deploys, publishes and requests from the command line; never the relay account
    account_key_file: Path | None = None

    # attestation
    collateral_source: str = "intel"  # or the URL of a caching service (PCCS), a folder, or `development`
    collateral_margin_s: int = 7 * 24 * 3600  # before a document on chain expires, a newer one is brought

    # this machine
    data_dir: Path = Path(".adyton")
    database_url: str | None = None  # default: SQLite in data_dir
    broker_url: str | None = None  # default: an embedded Valkey in data_dir
    enclave_socket: Path | None = None  # default: in data_dir
    worker_concurrency: int = 1
    fetch: Literal["public", "no", "insecure-loopback"] = "public"  # whom programs may reach over HTTPS through us
    quoter: str = "auto"  # where enclaves get their quotes, as `oracle.attestation.quoters.detection` reads it
    sweep_interval_s: float = 1.0
    deadline_margin_s: int = 3  # requests nearer to their deadline are not served: give it two block times
    urgent_within_s: int = 15  # requests nearer to their deadline go before those of consumers who had less
    max_pending_per_consumer: int = 100_000  # more than this wait until there is room
    expire_overdue: Literal["yes", "no"] = "no"  # whether the relay pays for refunding what nobody answered
    log_format: Literal["text", "json"] = "text"
    log_level: str = "INFO"
    metrics_listen: str | None = None  # host:port of `/metrics` for Prometheus
    trace_endpoint: str | None = None  # base URL of an OTLP/HTTP collector; needs the extra `otel`

    # ceilings that a manifest may not exceed
    ceiling_fuel: int = 20_000_000_000
    ceiling_memory_bytes: int = 256 << 20
    ceiling_wall_time_ms: int = 30_000
    ceiling_input_bytes: int = 1 << 20
    ceiling_output_bytes: int = 64 << 10
    ceiling_log_bytes: int = 64 << 10
    ceiling_stack_bytes: int = 1 << 20

    @property
    def nodes(self) -> tuple[str, ...]:
        """The URLs of all nodes, the preferred first."""
        return self.rpc_urls or _listed(self.rpc_url)

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The URLs where new heads can be subscribed to."""
        return _listed(self.ws_url or "")

    def require(self, *names: str) -> None:
        """
        Check that these settings have values.

        Raises:
            ConfigurationError: the first that has none, with where it can be set.
        """
        for name in names:
            if getattr(self, name) is None:
                deploy = ", or run `adyton deploy`, which writes it" if name in _DEPLOYED else ""
                raise ConfigurationError(
                    f"setting `{name}` is missing: put it into {DEFAULT_CONFIG_FILE} "
                    f"or set {ENVIRONMENT_PREFIX}{name.upper()}{deploy}"
                )

    @property
    def relay_keys(self) -> tuple[Path, ...]:
        """The key files of all relay accounts, each once."""
        first = () if self.relay_key_file is None else (self.relay_key_file,)
        return tuple(dict.fromkeys((*first, *self.relay_key_files)))

    @property
    def database(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'pool.sqlite'}"

    @property
    def socket(self) -> Path:
        """Where the enclave listens."""
        return self.enclave_socket or self.data_dir.resolve() / "enclave" / "enclave.sock"

    @property
    def broker_socket(self) -> Path:
        """Where the embedded broker listens."""
        return self.data_dir.resolve() / "broker" / "valkey.sock"

    @property
    def broker(self) -> str:
        """The broker's URL."""
        return self.broker_url or f"redis+socket://{self.broker_socket}"

    @property
    def content_dir(self) -> Path:
        """Where blobs and program code are kept by hash."""
        return self.data_dir.resolve() / "content"


_HINTS = get_type_hints(Settings)


def _listed(text: str) -> tuple[str, ...]:
    """What commas separate."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def load(
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    **options: object,
) -> Settings:
    """
    Settings from file, environment and `options` (those that are not None).

    `config_file` None means `adyton.toml` in the working directory, if there is one.

    Raises:
        ConfigurationError: the file is missing, unreadable or not TOML; a key is unknown; a value is of the wrong type.
    """
    environment = os.environ if environment is None else environment
    explicit = config_file or (Path(environment["ADYTON_CONFIG"]) if environment.get("ADYTON_CONFIG") else None)
    path = explicit or Path(DEFAULT_CONFIG_FILE)
    values: dict[str, Any] = _from_file(path) if explicit or path.exists() else {}
    for field in fields(Settings):
        text = environment.get(ENVIRONMENT_PREFIX + field.name.upper())
        if text is not None:
            values[field.name] = _convert(field.name, text, ENVIRONMENT_PREFIX + field.name.upper())
    values.update({name: value for name, value in options.items() if value is not None})
    return Settings(**values)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no settings file {path}: write one with `adyton deploy --save {path}`"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"cannot read the settings file {path}: {error}") from error
    unknown = sorted(document.keys() - _HINTS.keys())
    if unknown:
        raise ConfigurationError(f"{path}: unknown setting `{unknown[0]}`; known are {', '.join(sorted(_HINTS))}")
    values = {name: _convert(name, value, f"{path}: {name}") for name, value in document.items()}
    return {name: _beside(path, value) for name, value in values.items()}


def _beside(path: Path, value: object) -> object:
    """A path in the settings file `path` is relative to that file; one that is absolute stays as it is."""
    if isinstance(value, tuple):
        return tuple(_beside(path, part) for part in value)
    return path.parent / value if isinstance(value, Path) else value


def _convert(name: str, value: object, where: str) -> object:
    """Text or TOML `value` as the type that the field `name` has."""
    hint = _HINTS[name]
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigurationError(f"{where} must be one of {', '.join(get_args(hint))}, not {value!r}")
        return value
    if get_origin(hint) is tuple:
        return tuple(get_args(hint)[0](part) for part in _convert_list(value, where))
    wanted = next(kind for kind in (*get_args(hint), hint) if kind is not type(None))
    try:
        if wanted in (int, float) and isinstance(value, str | int | float) and not isinstance(value, bool):
            number = wanted(value)
            if number < 0:
                raise ValueError  # noqa: TRY301  # one message for every way to be wrong
            return number
        if wanted in (str, Path) and isinstance(value, str):
            return wanted(value)
    except ValueError:
        pass
    raise ConfigurationError(f"{where} must be of type {wanted.__name__}, not {value!r}")


def _convert_list(value: object, where: str) -> tuple[str, ...]:
    """A list of text, text with commas, or a table, whose entries become `key=value`."""
    if isinstance(value, str):
        return _listed(value)
    if isinstance(value, Mapping):
        value = [f"{key}={entry}" for key, entry in value.items()]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise ConfigurationError(f"{where} must be a list of text, not {value!r}")


def read_secret(path: Path, what: str) -> bytes:
    """
    The 32-byte secret kept as `0x…` text in the file `path`.

    Raises:
        ConfigurationError: no such file, readable by others, or not 32 bytes of hexadecimal.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the {what} file {path}: {error}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(f"the {what} file {path} can be read by others: run `chmod 600 {path}`")
    try:
        secret = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise ConfigurationError(f"the {what} file {path} must hold 0x and 64 hexadecimal digits")
    return secret
