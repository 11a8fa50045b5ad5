"""
Kill -9 each part in the middle of 200 requests: all settle, none twice, nonces have no gaps (P1, P2, P3).

The enclave is the fake behind a real socket here, so it is "killed" by closing its socket and coming back with other
keys.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from functools import partial

import pytest

from oracle.anvil import ACCOUNTS
from oracle.chain.node import RpcNode
from oracle.chain.rpc import quantity
from oracle.config import Settings
from oracle.store.rows import RequestState
from oracle.store.store import Store
from oracle.supervisor import Supervisor, running
from oracle.types.ids import Address, RequestId, hex_of
from tests.fakes import eventually
from tests.integration.conftest import Chain

REQUESTS = 200
RELAY = Address(ACCOUNTS[1].address)


def _ask(chain: Chain, count: int) -> list[RequestId]:
    return [chain.request(b"%d" % number, callback_gas=0).request.request_id for number in range(count)]


def _all_settled(chain: Chain, store: Store) -> bool:
    return store.requests.counts()[RequestState.SETTLED] == REQUESTS and len(chain.settlements()) == REQUESTS


def _audit(chain: Chain, store: Store, asked: list[RequestId]) -> None:
    """What anybody can check from outside."""
    assert chain.settlements() == dict.fromkeys(asked, 1)
    mined = RpcNode(chain.rpc).account(RELAY).nonce
    pending = quantity(chain.rpc.call("eth_getTransactionCount", hex_of(RELAY), "pending"))
    assert mined == pending
    assert store.journal.next_nonce(RELAY, mined) == mined
    assert store.journal.sent(RELAY) == [] or eventually(lambda: store.journal.sent(RELAY) == [])


def _kill(supervisor: Supervisor, part: str) -> None:
    os.kill(eventually(lambda: supervisor.pids().get(part), what=f"the {part} runs"), signal.SIGKILL)


def _during(chain: Chain, store: Store, disturb: Callable[[], None]) -> None:
    """Ask for everything at once, and disturb when a quarter, and again when half, is settled."""
    asked: list[RequestId] = []
    asking = threading.Thread(target=lambda: asked.extend(_ask(chain, REQUESTS)))
    asking.start()
    for share in (4, 2):
        eventually(lambda: store.requests.counts()[RequestState.SETTLED] >= REQUESTS // share, 60)  # noqa: B023
        disturb()
    asking.join()
    eventually(partial(_all_settled, chain, store), 90, "all settled")
    _audit(chain, store, asked)


def test_burst_of_requests_settles_once(chain: Chain, whole_pool: Settings) -> None:
    """P1."""
    with running(whole_pool), Store.open(whole_pool.database) as store:
        asked = _ask(chain, REQUESTS)
        eventually(partial(_all_settled, chain, store), 60, "all settled")
        _audit(chain, store, asked)


@pytest.mark.parametrize("part", ["worker", "watcher", "submitter", "broker", "enclave-0"])
def test_part_killed_all_requests_settle_once(chain: Chain, whole_pool: Settings, part: str) -> None:
    """P1, P2, P3. A killed enclave comes back with other keys; what the old ones signed still counts."""
    with running(whole_pool) as pool, Store.open(whole_pool.database) as store:
        _during(chain, store, partial(_kill, pool, part))
        if part == "enclave-0":
            assert len(store.enclaves.newest()) > 1
