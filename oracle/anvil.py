"""
A local chain: Anvil as a child process that dies with its parent.

For playing, demos and tests only. Its accounts' keys are published in Foundry's book, so nothing of value may be sent
to them on any real chain.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from oracle.crypto.ecdsa import SigningKey
from oracle.errors import ConfigurationError
from oracle.process import die_with_parent

CHAIN_ID = 31337
# Accounts of the mnemonic "test test test test test test test test test test test junk", 10,000 ETH each.
ACCOUNTS = tuple(
    SigningKey(bytes.fromhex(secret))
    for secret in (
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
        "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    )
)
_START_DEADLINE_S = 30.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Anvil:
    """A running local chain."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def rpc_url(self) -> str:
        """Where it answers JSON-RPC over HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where it answers JSON-RPC over WebSocket."""
        return f"ws://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End the process and wait for it."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(
    port: int | None = None, block_time_s: float | None = None, state: Path | None = None, log: Path | None = None
) -> Anvil:
    """
    Start Anvil on `port` (None: a free one) and wait until it answers.

    `block_time_s` None mines each transaction at once. `state` keeps the chain in a file across restarts.

    Raises:
        ConfigurationError: anvil is not installed, the port is taken, or it does not come up.
    """
    executable = shutil.which("anvil")
    if executable is None:
        raise ConfigurationError("anvil is not on PATH: install Foundry (https://getfoundry.sh)")
    port = port or free_port()
    _require_free(port)
    command = [executable, "--port", str(port), "--chain-id", str(CHAIN_ID), "--hardfork", "osaka", "--quiet"]
    command += ["--block-time", str(block_time_s), "--mixed-mining"] if block_time_s else []
    command += ["--state", str(state)] if state else []
    with (log or Path(os.devnull)).open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  # the anvil that PATH names is the operator's choice
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509  # one system call, no locks taken
        )
    anvil = Anvil(process, port)
    _wait_until_up(anvil)
    return anvil


@contextlib.contextmanager
def running(port: int | None = None, block_time_s: float | None = None, log: Path | None = None) -> Iterator[Anvil]:
    """`start`, and stop at the end of the block."""
    anvil = start(port, block_time_s, log=log)
    try:
        yield anvil
    finally:
        anvil.stop()


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(f"port {port} is taken: stop what listens there, or choose another") from error


def _wait_until_up(anvil: Anvil) -> None:
    deadline = time.monotonic() + _START_DEADLINE_S
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    while time.monotonic() < deadline:
        if anvil.process.poll() is not None:
            raise ConfigurationError(f"anvil ended at once with code {anvil.process.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(anvil.rpc_url, json=body, timeout=1).raise_for_status()
            return
        time.sleep(_POLL_S)
    anvil.stop()
    raise ConfigurationError(f"anvil did not answer on port {anvil.port} within {_START_DEADLINE_S:.0f} s")
