"""
What a process counts and measures, for Prometheus. Any code may call `count`, `gauge` and `observe`.

    metrics.count("renewal_failures")
    metrics.count("executions", outcome="trapped")
    metrics.gauge("relay_balance_wei", balance, account=hex_of(account))
    metrics.observe("execution_seconds", elapsed)

Every name is in the tables below; another one does not pass the type check. A call costs a microsecond and never
raises for a reason of the outside world. Nothing listens anywhere until `listen`. Money is a float here, as all of
Prometheus: exact sums are in the store.

The parts of `adyton up` count into files of one directory (`share`), and the supervisor shows their sum. A part that
is started again continues its own file, so that counters never go back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
    values,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from oracle.errors import AdytonError, ConfigurationError

_LOG = logging.getLogger(__name__)
disable_created_metrics()  # type: ignore[no-untyped-call]
_PREFIX = "adyton"
_SHARED_BY = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client looks for the directory

CountName = Literal[
    "requests_read",
    "requests_ended",
    "requests_refused",
    "fees_earned_wei",
    "reorganisations",
    "executions",
    "execution_failures",
    "retries",
    "wake_ups",
    "woken_by_sweep",
    "transactions",
    "replacements",
    "gas_spent_wei",
    "receipts_given_up",
    "renewals",
    "renewal_failures",
    "collateral_failures",
    "node_failures",
    "part_restarts",
]
GaugeName = Literal["head_block", "relay_balance_wei", "enclave_up"]
ObservationName = Literal["execution_seconds", "take_seconds", "advance_seconds"]

COUNTS: dict[CountName, tuple[str, tuple[str, ...]]] = {
    "requests_read": ("Requests that the watcher read and stored.", ()),
    "requests_ended": ("Requests that the chain settled or expired.", ("state", "outcome")),
    "requests_refused": ("Requests over their consumer's share, kept back until there is room.", ()),
    "fees_earned_wei": ("Fees of settled requests, to the payee of this pool and to others.", ("payee",)),
    "reorganisations": ("Times that the watcher went back.", ()),
    "executions": ("Receipts that an enclave signed.", ("outcome",)),
    "execution_failures": ("Attempts that gave no receipt, by whether they are tried again.", ("again",)),
    "retries": ("Tasks that failed for a passing reason and come back.", ("task",)),
    "wake_ups": ("Messages to other parts: sent, left out because enough are under way, or failed.", ("task", "sent")),
    "woken_by_sweep": ("Requests that the sweeper found waiting for longer than they should.", ("state",)),
    "transactions": ("Transactions of the relay account, by how they ended.", ("kind", "result")),
    "replacements": ("Stuck transactions sent again for a higher fee.", ()),
    "gas_spent_wei": ("What mined transactions of the relay account cost.", ("kind",)),
    "receipts_given_up": ("Receipts that were not delivered until their deadline, by the reason.", ("reason",)),
    "renewals": ("Registrations and renewals of enclaves that became live.", ()),
    "renewal_failures": ("Attempts to attest, register or renew an enclave that failed.", ()),
    "collateral_failures": ("Attempts to fetch collateral or to bring it to the chain that failed.", ()),
    "part_restarts": ("Parts that ended and were started again.", ("part",)),
    "node_failures": ("Failed calls of a node, by its URL without secrets.", ("node",)),
}
GAUGES: dict[GaugeName, tuple[str, tuple[str, ...]]] = {
    "head_block": ("Newest block that the node told the watcher.", ()),
    "relay_balance_wei": ("Balance of the relay account.", ("account",)),
    "enclave_up": ("1 if this machine's enclave answers, by its number.", ("enclave",)),
}
OBSERVATIONS: dict[ObservationName, tuple[str, tuple[float, ...]]] = {
    "execution_seconds": (
        "From handing a request to the enclave to its receipt.",
        (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
    ),
    "take_seconds": ("Choosing and claiming the next requests in the store.", (0.001, 0.0025, 0.005, 0.01, 0.1, 1)),
    "advance_seconds": ("Storing the events of one span of blocks.", (0.005, 0.025, 0.1, 0.5, 2, 10)),
}
assert set(COUNTS) == set(get_args(CountName))
assert set(GAUGES) == set(get_args(GaugeName))
assert set(OBSERVATIONS) == set(get_args(ObservationName))


class _Instruments:
    """Everything above, in one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counts = {
            name: Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)
            for name, (text, labels) in COUNTS.items()
        }
        self.gauges = {
            name: Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry, multiprocess_mode="mostrecent")
            for name, (text, labels) in GAUGES.items()
        }
        self.observations = {
            name: Histogram(f"{_PREFIX}_{name}", text, registry=self.registry, buckets=buckets)
            for name, (text, buckets) in OBSERVATIONS.items()
        }


_made: list[_Instruments] = []
_making = threading.Lock()


def _instruments() -> _Instruments:
    if not _made:
        with _making:
            if not _made:
                _made.append(_Instruments())
    return _made[0]


def count(name: CountName, amount: float = 1, **labels: str) -> None:
    """Add `amount`, which is not negative."""
    counter = _instruments().counts[name]
    (counter.labels(**labels) if labels else counter).inc(amount)


def gauge(name: GaugeName, value: float, **labels: str) -> None:
    """Say what the value is now."""
    found = _instruments().gauges[name]
    (found.labels(**labels) if labels else found).set(value)


def observe(name: ObservationName, seconds: float) -> None:
    """Add one duration."""
    _instruments().observations[name].observe(seconds)


def value(name: CountName | GaugeName, **labels: str) -> float:
    """What this process has counted so far; 0 if nothing."""
    suffix = "_total" if name in COUNTS else ""
    return _instruments().registry.get_sample_value(f"{_PREFIX}_{name}{suffix}", labels) or 0.0


def share(directory: Path, part: str) -> None:
    """
    Count into files of `directory` from now on, under the name `part`, which no other living process has.

    Call it before anything is counted. A file that a crash left unreadable is begun anew.
    """
    os.environ[_SHARED_BY] = str(directory)
    for path in directory.glob(f"*_{part}.db"):
        try:
            list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call]
        except Exception:  # noqa: BLE001  # whatever half a file may cause
            path.unlink()
    values.ValueClass = values.MultiProcessValue(lambda: part)  # type: ignore[no-untyped-call]
    _made.clear()


def clear_shared(directory: Path) -> None:
    """Make `directory` an empty place for `share`. Its parts must have ended."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.db"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


class Reading(Collector):
    """
    Gauges that are read when somebody looks, such as those of the store.

    `read` gives (name, help, labels, values by label values). While it fails with an error of ours, they are absent
    and `adyton_readable` is 0.
    """

    def __init__(self, read: Callable[[], Iterable[Family]]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What Prometheus gets."""
        readable = GaugeMetricFamily(f"{_PREFIX}_readable", "1 if the store could be read for this answer.")
        try:
            families = list(self._read())
        except AdytonError as error:
            _LOG.debug("cannot read what to show: %s", error)
            families = []
            readable.add_metric([], 0)
        else:
            readable.add_metric([], 1)
        yield readable
        for name, text, labels, samples in families:
            family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
            for label_values, number in samples.items():
                family.add_metric(label_values, number)
            yield family


Samples = dict[tuple[str, ...], float]  # by the values of the labels
Family = tuple[str, str, tuple[str, ...], Samples]  # name, help, labels, values
Clock = Callable[[], int]  # milliseconds of unix time


@contextmanager
def listen(address: str | None, *readings: Reading, shared: Path | None = None) -> Iterator[int | None]:
    """
    Serve `/metrics` at `address` (host:port) while the block runs, from a thread; nowhere if it is None. Gives the
    port.

    What is served is what this process counted, or, with `shared`, what all parts counted that `share` that directory.

    Raises:
        ConfigurationError: not host:port, or the port is taken.
    """
    if address is None:
        yield None
        return
    host, port = parse_address(address)
    registry = CollectorRegistry()
    registry.register(MultiProcessCollector(None, path=str(shared)) if shared else _instruments().registry)  # type: ignore[no-untyped-call]
    for reading in readings:
        registry.register(reading)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigurationError(f"cannot listen for metrics at {address}: {error.strerror or error}") from error
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def parse_address(address: str) -> tuple[str, int]:
    """
    Host and port of `host:port` or `[host]:port`.

    Raises:
        ConfigurationError: it is neither.
    """
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 0xFFFF:
        raise ConfigurationError(f"metrics_listen must be host:port, such as 127.0.0.1:9464, not {address!r}")
    return host, int(port)
