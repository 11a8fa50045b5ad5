"""Real enclave processes, locked down as in production, that get their quotes from fakes of real platforms."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.measurements import sgx_measurement, tdx_measurement
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.enclave.main import EXIT_CONFIGURATION, EXIT_UNAVAILABLE
from oracle.enclave.measurement import measure
from oracle.enclave.protocol import Attest, Describe, Description, ErrorReply, Quote, ReceiptReply
from oracle.types.attestation import report_data
from tests.integration.enclave.conftest import CHAIN_ID, COPROCESSOR, PAYEE, EnclaveProcess, Host
from tests.platforms import BUILD, PKI, FakeConfigfs, FakeDstackAgent, FakeGramine

ROOT = Path(__file__).parents[3]
ATTEST = Attest(CHAIN_ID, COPROCESSOR, PAYEE, b"\x0a" * 32)
LOCKED = "lockdown=no_new_privs,landlock,seccomp"


def command(path: Path, quoter: str) -> list[str]:
    return [sys.executable, "-m", "oracle.enclave.main", "--socket", str(path), "--quoter", quoter]


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}


def start(path: Path, quoter: str) -> EnclaveProcess:
    process = subprocess.Popen(
        command(path, quoter),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
    return EnclaveProcess(process, path)


def described(host: Host) -> Description:
    me = host.ask(Describe())
    assert isinstance(me, Description)
    return me


def check(running: EnclaveProcess, name: str) -> tuple[Description, list[bytes]]:
    """That a locked enclave quotes its own keys again and again, from several connections, and still works."""
    hosts = [running.connect() for _ in range(3)]
    me, quotes = described(hosts[0]), []
    expected = report_data(CHAIN_ID, COPROCESSOR, me.signer, me.sealing_key, PAYEE, ATTEST.anchor_block_hash)
    for host in (*hosts, *hosts):
        reply = host.ask(ATTEST)
        assert isinstance(reply, Quote), reply
        assert expected + bytes(32) in reply.quote
        quotes.append(reply.quote)
    assert isinstance(hosts[0].ask(hosts[0].order(b"function main(input) { return input }", b"x")), ReceiptReply)
    assert me.quoter == name
    return me, quotes


def end(running: EnclaveProcess) -> str:
    """Its log."""
    running.stop()
    assert running.process.stderr is not None
    return running.process.stderr.read()


@pytest.fixture
def gramine(tmp_path: Path) -> Iterator[FakeGramine]:
    fake = FakeGramine(tmp_path / "attestation")
    yield fake
    fake.stop()


def test_gramine_locked_enclave_quotes_through_the_files(socket_path: Path, gramine: FakeGramine) -> None:
    running = start(socket_path, f"gramine:{gramine.directory}")
    me, _ = check(running, "gramine")
    assert me.measurement == sgx_measurement(PKI.sgx_report(mr_enclave=BUILD).encode())
    log = end(running)
    assert LOCKED in log
    assert "quoter=gramine" in log


def test_gramine_that_stops_quoting_is_an_error_and_the_enclave_goes_on(
    socket_path: Path, gramine: FakeGramine
) -> None:
    running = start(socket_path, f"gramine:{gramine.directory}")
    host = running.connect()
    gramine.answer = lambda _: PKI.quote(QuoteKind.SGX_V3, bytes(64), BUILD)
    reply = host.ask(ATTEST)
    assert isinstance(reply, ErrorReply)
    assert (reply.code, "other report data" in reply.message) == ("quote_failed", True)
    gramine.answer = lambda data: PKI.quote(QuoteKind.SGX_V3, data, BUILD)
    assert isinstance(host.ask(ATTEST), Quote)
    running.stop()


def test_dstack_locked_enclave_quotes_through_the_agent(socket_path: Path) -> None:
    if importlib.util.find_spec("dstack_sdk") is None:
        pytest.skip("the optional package dstack_sdk is not installed")
    socket_path.parent.mkdir()
    agent = FakeDstackAgent(socket_path.with_name("dstack.sock"), hang_up=True)
    running = start(socket_path, f"dstack:{agent.socket}")
    me, _ = check(running, "dstack")
    assert me.measurement == tdx_measurement(PKI.td_report(mr_td=BUILD + bytes(16)).encode())
    assert LOCKED in end(running)
    agent.stop()


_LOCKED_CONFIGFS = """
import os, pathlib, sys
from oracle.attestation.quoters.configfs import ConfigfsQuoter
from oracle.enclave import lockdown
from tests.platforms import kernel_mkdir
root = pathlib.Path(sys.argv[1])
os.mkdir = kernel_mkdir(root)
quoter = ConfigfsQuoter(root)
needs = quoter.needs
assert lockdown.restrict_process()
assert lockdown.restrict_files(needs.readable, needs.writable)
assert lockdown.restrict_system_calls(needs.system_calls)
for number in range(5):
    sys.stdout.write(quoter.quote(bytes([number]) * 32).hex() + "\\n")
try:
    (root / "adyton-1").mkdir()
except OSError as error:
    sys.stdout.write(f"{error.errno}\\n")
sys.stdout.flush()
os._exit(0)
"""


def test_configfs_locked_process_quotes_through_its_report_directory(tmp_path: Path) -> None:
    fake = FakeConfigfs(tmp_path / "report")
    fake.interferences = 2
    done = subprocess.run(
        [sys.executable, "-c", _LOCKED_CONFIGFS, str(fake.directory)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=60,
    )
    *quotes, refused = done.stdout.splitlines()
    assert [bytes.fromhex(quote)[568:600] for quote in quotes] == [bytes([number]) * 32 for number in range(5)]
    assert refused in ("1", "13")


@pytest.mark.parametrize("kind", QuoteKind)
def test_simulated_locked_enclave_quotes_and_says_that_it_is_simulated(socket_path: Path, kind: QuoteKind) -> None:
    running = start(socket_path, f"simulated:{kind.value}:3")
    me, quotes = check(running, "simulated")
    assert me.measurement == simulated_measurement(measure(), kind)
    assert len(set(quotes)) == 1
    log = end(running)
    assert LOCKED in log
    assert "prove nothing" in log
    assert "quoter=simulated" in log


@pytest.mark.parametrize("quoter", ["gramine:/nothing", "dstack:/nothing.sock", "configfs:/nothing", "nitro:/nothing"])
def test_platform_that_is_not_there_ends_the_enclave_with_one_sentence(socket_path: Path, quoter: str) -> None:
    done = subprocess.run(
        command(socket_path, quoter),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (EXIT_UNAVAILABLE, "")
    assert "Traceback" not in done.stderr


def test_quoter_can_be_chosen_by_the_environment(socket_path: Path) -> None:
    arguments = command(socket_path, "")[:-2]
    variables = {**environment(), "ADYTON_QUOTER": "sgx"}
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, env=variables, timeout=60, check=False)
    assert (done.returncode, "no quoter 'sgx'" in done.stderr) == (EXIT_CONFIGURATION, True)
