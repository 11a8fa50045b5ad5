"""
Consumers that keep asking while the chain is reorganised under them and stands still.

What counts as asked is what the chain says in the end: a reorganisation takes requests back, as it would a user's.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from oracle import anvil
from oracle.chain.rpc import Rpc
from oracle.config import Settings
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import keccak256
from oracle.errors import AdytonError
from oracle.types.ids import hex_of
from oracle.wiring import open_wallet
from tests.integration.conftest import Chain

_MINED_WITHIN_S = 8.0  # else a reorganisation has lost it, and the next one is sent
_MAX_INPUT_BYTES = 200
CONSUMERS = tuple(SigningKey(keccak256(b"consumer %d" % number)) for number in range(8))


def fund(chain: Chain) -> None:
    """Give all consumers something to spend, in a block that stays."""
    for key in CONSUMERS:
        chain.rpc.call("anvil_setBalance", hex_of(key.address), hex(10**22))


class Consumer:
    """An account of its own, that asks one thing after the other."""

    def __init__(self, chain: Chain, key: SigningKey, seed: int, waits_s: tuple[int, int], pause_s: float) -> None:
        self._rpc = Rpc(chain.node.rpc_url)
        self._random = random.Random(seed)
        self._waits_s, self._pause_s = waits_s, pause_s
        wallet = open_wallet(Settings(), self._rpc, key)
        self._chain = replace(chain, asker=replace(wallet, timeout_s=_MINED_WITHIN_S), rpc=self._rpc)
        self.asked = 0

    def run(self, stop: threading.Event) -> None:
        """Ask until told to stop."""
        while not stop.is_set():
            given = os.urandom(self._random.randint(1, _MAX_INPUT_BYTES))
            try:
                self._chain.request(given, wait_s=self._random.randint(*self._waits_s))
                self.asked += 1
            except (AdytonError, IndexError):  # the chain stands still, or was reorganised meanwhile
                stop.wait(0.1)
            stop.wait(self._random.expovariate(1 / self._pause_s))
        self._rpc.close()


@contextmanager
def load(
    chain: Chain, seed: int, count: int = 3, waits_s: tuple[int, int] = (600, 600), pause_s: float = 0.5
) -> Iterator[list[Consumer]]:
    """`count` consumers that ask until the block ends."""
    assert chain.deployment.chain_id == anvil.CHAIN_ID
    stop = threading.Event()
    consumers = [Consumer(chain, CONSUMERS[number], seed + number, waits_s, pause_s) for number in range(count)]
    threads = [threading.Thread(target=consumer.run, args=(stop,), daemon=True) for consumer in consumers]
    for thread in threads:
        thread.start()
    try:
        yield consumers
    finally:
        stop.set()
        for thread in threads:
            thread.join()
