"""What goes wrong around a pool: the chain, the database, the operator. Real processes throughout."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from oracle import anvil, supervisor
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.config import Settings
from oracle.enclave.measurement import measure
from oracle.errors import ConfigurationError
from oracle.store.rows import RequestState
from oracle.store.store import Store
from oracle.supervisor import PartFailedError, Supervisor, pool_parts, running
from oracle.types.ids import ProgramId, RequestId
from tests.fakes import FakeEnclave, eventually, serving
from tests.integration.conftest import Chain, build_chain, pool_settings


def is_in(store: Store, request_id: RequestId, state: RequestState) -> bool:
    stored = store.requests.get(request_id)
    return stored is not None and stored.state is state


def await_state(store: Store, request_id: RequestId, state: RequestState) -> None:
    eventually(partial(is_in, store, request_id, state), 30, f"request is {state}")


def refused(capfd: pytest.CaptureFixture[str], settings: Settings) -> str:
    """What the operator reads when the pool refuses to run."""
    logging.getLogger().handlers.clear()
    with pytest.raises(PartFailedError), running(settings) as pool:
        eventually(lambda: not pool.is_running, 60, "the pool ends")  # if it was registered before it looked
    return capfd.readouterr().err


def test_unknown_program_fails_with_a_reason_then_expires_with_a_refund(chain: Chain, settings: Settings) -> None:
    """P6."""
    assert settings.enclave_socket is not None
    with serving(FakeEnclave(), settings.enclave_socket), running(settings), Store.open(settings.database) as store:
        unknown = chain.request(program_id=ProgramId(b"\x01" * 32), wait_s=120).request
        await_state(store, unknown.request_id, RequestState.FAILED)
        stored = store.requests.get(unknown.request_id)
        assert stored is not None
        assert stored.reason is not None
        assert "not published" in stored.reason
        chain.rpc.call("evm_increaseTime", 300)
        chain.rpc.call("evm_mine")
        await_state(store, unknown.request_id, RequestState.EXPIRED)
        tab = chain.reader.view("Coprocessor", chain.coprocessor, "tab", chain.asker.address, "0x" + "00" * 20)
        assert tab == (0, 10**16)  # earned, refunded
        assert chain.settlements() == {unknown.request_id: 1}


@pytest.mark.parametrize("depth", [1, 3, 20, 64])
def test_reorganisation_the_pool_follows_and_serves_on(chain: Chain, settings: Settings, depth: int) -> None:
    """P5, P3."""
    assert settings.enclave_socket is not None
    chain.rpc.call("anvil_mine", hex(64))
    with serving(FakeEnclave(), settings.enclave_socket), running(settings), Store.open(settings.database) as store:
        for number in range(12):
            request_id = chain.request(b"before %d" % number).request.request_id
            await_state(store, request_id, RequestState.SETTLED)
        chain.rpc.call("anvil_reorg", depth, [])
        after = [chain.request(b"after %d" % number).request.request_id for number in range(3)]
        for request_id in after:
            await_state(store, request_id, RequestState.SETTLED)
        head = chain.reader.head()
        eventually(lambda: store.chain.cursor().number >= head.number)
        for settled, count in chain.settlements().items():
            assert count == 1
            await_state(store, RequestId(settled), RequestState.SETTLED)
        for stored in store.requests.latest(100):
            assert (stored.state is RequestState.SETTLED) == (stored.request_id in chain.settlements())


def test_chain_restarted_with_its_state_the_pool_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    node = anvil.start(state=state)
    try:
        chain = build_chain(node, (simulated_measurement(measure()),))
        settings = pool_settings(chain, tmp_path / "pool")
        with running(settings), Store.open(settings.database) as store:
            await_state(store, chain.request().request.request_id, RequestState.SETTLED)
            node.stop()
            node = anvil.start(node.port, state=state)
            await_state(store, chain.request().request.request_id, RequestState.SETTLED)
    finally:
        node.stop()


def test_chain_restarted_without_its_state_the_pool_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """P7."""
    node = anvil.start()
    try:
        chain = build_chain(node, (simulated_measurement(measure()),))
        settings = pool_settings(chain, tmp_path / "pool")
        with pytest.raises(PartFailedError), running(settings) as pool, Store.open(settings.database) as store:  # noqa: PT012
            await_state(store, chain.request().request.request_id, RequestState.SETTLED)
            node.stop()
            node = anvil.start(node.port)
            eventually(lambda: not pool.is_running, 30, "the pool ends")
        message = capfd.readouterr().err
        assert "the chain was restarted without its state" in message
        assert "deploy again with a new data_dir" in message
        build_chain(
            node, (simulated_measurement(measure()),)
        )  # deployed again, to the same addresses, over the old database
        assert "move the data_dir away" in refused(capfd, settings)
    finally:
        node.stop()


def test_another_chain_id_is_refused(chain: Chain, settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    assert "serves chain 31337, not 1" in refused(capfd, replace(settings, chain_id=1))


def test_url_of_something_else_is_refused(chain: Chain, settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    from tests.integration.test_chain import answering  # noqa: PLC0415

    with answering(200, b"a web page") as url:
        assert "check rpc_url" in refused(capfd, replace(settings, rpc_url=url))


def test_relay_key_file_that_is_missing_is_refused(
    chain: Chain, settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "relay key file" in refused(capfd, replace(settings, relay_key_file=tmp_path / "none"))


def test_setting_that_is_missing_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="coprocessor"):
        supervisor.run_up(Settings(data_dir=tmp_path))


def test_data_dir_that_is_too_deep_for_sockets_is_refused(chain: Chain, settings: Settings, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    with pytest.raises(ConfigurationError, match="shorter data_dir"):
        supervisor.run_up(replace(settings, data_dir=deep, enclave_socket=None))


def test_node_that_is_away_at_start_is_waited_for(chain: Chain, settings: Settings) -> None:
    away = replace(settings, rpc_url="http://127.0.0.1:1", ws_url=None)
    with pytest.raises(ConfigurationError, match="not ready"), running(away, ready_within_s=3):
        pass  # it waits and does not end: a node may come back


def test_second_pool_on_the_same_directory_is_refused(chain: Chain, settings: Settings) -> None:
    assert settings.enclave_socket is not None
    with (
        serving(FakeEnclave(), settings.enclave_socket),
        running(settings),
        pytest.raises(ConfigurationError, match=f"already runs.*process {os.getpid()}"),
    ):
        Supervisor(settings, pool_parts(settings)).run()


def test_supervisor_killed_leaves_no_orphans(chain: Chain, whole_pool: Settings) -> None:
    """P9."""
    process = _start_up(whole_pool)
    store = Store.open(whole_pool.database, create=True)
    eventually(lambda: supervisor.is_ready(store), 60, "the pool is ready")
    pids = json.loads((whole_pool.data_dir / "run" / "pids.json").read_text())
    assert set(pids) == {"broker", "enclave-0", "watcher", "submitter", "worker"}
    process.kill()
    process.wait()
    eventually(lambda: not any(_is_alive(pid) for pid in pids.values()), 10, "all children are gone")
    store.close()


def test_terminated_supervisor_ends_cleanly(chain: Chain, whole_pool: Settings) -> None:
    """P9."""
    process = _start_up(whole_pool)
    with Store.open(whole_pool.database, create=True) as store:
        eventually(lambda: supervisor.is_ready(store), 60, "the pool is ready")
    pids = json.loads((whole_pool.data_dir / "run" / "pids.json").read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert not any(_is_alive(pid) for pid in pids.values())


def _start_up(settings: Settings) -> subprocess.Popen[bytes]:
    source = "from oracle import config, supervisor; supervisor.run_up(config.load())"
    environment = supervisor._environment(settings, settings.data_dir / "given")
    return subprocess.Popen([sys.executable, "-c", source], env=environment, stderr=subprocess.DEVNULL)


def _is_alive(pid: int) -> bool:
    """Whether the process runs; one that waits for its parent to read its exit code does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def _hold_lock(path: str) -> Callable[[], None]:
    connection = sqlite3.connect(path)
    connection.execute("BEGIN IMMEDIATE")

    def release() -> None:
        connection.rollback()
        connection.close()

    return release


def test_database_locked_for_a_while_nothing_is_lost(chain: Chain, settings: Settings) -> None:
    """P1."""
    assert settings.enclave_socket is not None
    with serving(FakeEnclave(), settings.enclave_socket), running(settings), Store.open(settings.database) as store:
        release = _hold_lock(settings.database.removeprefix("sqlite:///"))
        request_id = chain.request().request.request_id
        assert store.requests.get(request_id) is None
        release()
        await_state(store, request_id, RequestState.SETTLED)


def test_database_removed_under_a_running_pool_ends_it_with_a_reason(
    chain: Chain, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    assert settings.enclave_socket is not None
    with serving(FakeEnclave(), settings.enclave_socket), pytest.raises(PartFailedError), running(settings) as pool:  # noqa: PT012
        Path(settings.database.removeprefix("sqlite:///")).unlink()
        chain.request()
        eventually(lambda: not pool.is_running, 30, "the pool ends")
    assert "was removed while in use" in capfd.readouterr().err
