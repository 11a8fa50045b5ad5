"""
The parts run separately, several of each, over PostgreSQL: each request settles once and nobody stands in another's
way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from oracle import supervisor
from oracle.anvil import ACCOUNTS
from oracle.chain.node import RpcNode
from oracle.config import Settings
from oracle.store.rows import RequestState
from oracle.store.store import Store
from oracle.types.ids import Address
from tests.fakes import FakeEnclave, eventually, serving
from tests.integration.conftest import Chain, pool_settings
from tests.unit.store.conftest import new_database, postgres

__all__ = ["postgres"]  # a fixture

REQUESTS = 60


@contextmanager
def part(settings: Settings, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """One part as its own process, the way `adyton NAME` runs it."""
    environment = supervisor._environment(settings, settings.data_dir / "run" / name)
    process = subprocess.Popen([sys.executable, "-m", "oracle.parts", str(os.getpid()), name], env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def _all_settled(store: Store) -> bool:
    return store.requests.counts()[RequestState.SETTLED] == REQUESTS


def test_two_hosts_over_postgresql_settle_each_request_once(
    chain: Chain, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """P1, P3, P4: two watchers, two workers with an enclave each, two submitters with a key each; one host is lost."""
    url = new_database("postgresql", request, tmp_path)
    first = replace(pool_settings(chain, tmp_path / "a"), database_url=url, enclave_socket=tmp_path / "a.sock")
    payee = "0x" + ACCOUNTS[1].address.hex()
    first = replace(first, payee=payee)
    broker = f"redis+socket://{first.broker_socket}"
    second = replace(
        pool_settings(chain, tmp_path / "b", ACCOUNTS[3]),
        database_url=url,
        broker_url=broker,
        payee=payee,
        enclave_socket=tmp_path / "b.sock",
    )
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(url, create=True))
        stack.enter_context(serving(FakeEnclave(), tmp_path / "a.sock"))
        stack.enter_context(serving(FakeEnclave(), tmp_path / "b.sock"))
        stack.enter_context(part(first, "broker"))
        lost = [stack.enter_context(part(first, name)) for name in ("watcher", "submitter", "worker")]
        for name in ("watcher", "submitter", "worker"):
            stack.enter_context(part(second, name))
        eventually(lambda: sum(e.live_until_s > 0 for e in store.enclaves.newest()) == 2, 60, "two enclaves are live")
        for number in range(REQUESTS):
            chain.request(b"%d" % number)
            if number == REQUESTS // 2:
                for process in lost:
                    process.kill()
        eventually(partial(_all_settled, store), 60, "all settled")
        assert sorted(chain.settlements().values()) == [1] * REQUESTS
        for key in (ACCOUNTS[1], ACCOUNTS[3]):
            account = Address(key.address)
            assert RpcNode(chain.rpc).account(account).nonce <= store.journal.next_nonce(account, 0)
        assert RpcNode(chain.rpc).account(Address(ACCOUNTS[3].address)).nonce > 1
