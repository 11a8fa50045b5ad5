"""A pool over a broker by URL: a real RabbitMQ, and a Valkey on TCP. Skipped where the server is not installed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from oracle.config import Settings
from oracle.store.rows import RequestState
from oracle.store.store import Store
from oracle.supervisor import pool_parts, running
from tests.fakes import FakeEnclave, eventually, serving
from tests.integration.conftest import Chain
from tests.servers import LOOPBACK, await_broker, rabbitmq, valkey

REQUESTS = 20


def _settled(store: Store) -> bool:
    return store.requests.counts()[RequestState.SETTLED] == REQUESTS


@pytest.mark.parametrize("broker", [valkey, rabbitmq])
def test_pool_over_a_broker_by_url_settles(chain: Chain, settings: Settings, tmp_path: Path, broker: object) -> None:
    assert callable(broker)
    assert settings.enclave_socket is not None
    (tmp_path / "broker-by-url").mkdir()
    with broker(tmp_path / "broker-by-url") as template:
        url = template.format(host=LOOPBACK)
        await_broker(url)
        by_url = replace(settings, broker_url=url)
        assert ("broker",) not in pool_parts(by_url)
        with serving(FakeEnclave(), settings.enclave_socket), running(by_url), Store.open(settings.database) as store:
            for number in range(REQUESTS):
                chain.request(b"%d" % number)
            eventually(partial(_settled, store), 30, "all settled")
        assert set(chain.settlements().values()) == {1}
