"""
Hypothesis chooses what goes wrong and when: real processes, a real chain, a node that lies, a broker that forgets.

One pool serves all examples; each ends in calm and with the audit. A few in every run; many with

    pytest tests/faults/test_state_machine.py --hypothesis-profile=search
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from oracle.errors import AdytonError
from oracle.store.rows import RequestState
from tests.fakes import eventually
from tests.faults import troubles
from tests.faults.world import World, a_chain, a_world, reorganise

PARTS = ("broker", "enclave", "watcher", "submitter", "worker")
STATES = (RequestState.PENDING, RequestState.EXECUTED, RequestState.SUBMITTED, RequestState.SETTLED)
DEPTHS = (1, 2, 5, 17, 64)
BRIEFLY_S = 2.0
IS_SEARCH = settings.get_current_profile_name() == "search"


class Brief(random.Random):
    """Chance, but what may last long is over soon."""

    def uniform(self, a: float, b: float) -> float:
        return super().uniform(a, b) if IS_SEARCH else a


CHANCE = st.integers(0, 2**32).map(Brief)


class Pool(RuleBasedStateMachine):
    """`adyton up`, and everything that may happen to it."""

    world: ClassVar[World]

    @initialize()
    def begin(self) -> None:
        self.asked = 0
        self.ask(3)

    @rule(count=st.integers(1, 5))
    def ask(self, count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(AdytonError):
                self.world.chain.request(os.urandom(16))
                self.asked += 1

    @rule(part=st.sampled_from(PARTS), state=st.sampled_from(STATES))
    def kill_at_a_state(self, part: str, state: RequestState) -> None:
        """As soon as any request is there, or after a moment."""
        before = self.world.store.requests.counts()[state]
        self.ask(2)
        with contextlib.suppress(AssertionError):
            eventually(lambda: self.world.store.requests.counts()[state] > before, BRIEFLY_S)
        troubles.kill(self.world, Brief(0), part)

    @rule(chance=CHANCE)
    def kill_everything(self, chance: random.Random) -> None:
        troubles.kill_all(self.world, chance)

    @rule(chance=CHANCE, what=st.sampled_from([troubles.wipe_broker, troubles.lose_broker]))
    def lose_messages(self, chance: random.Random, what: Callable[[World, random.Random], str]) -> None:
        what(self.world, chance)

    @rule(chance=CHANCE)
    def drop_messages(self, chance: random.Random) -> None:
        self.ask(2)
        troubles.drop_messages(self.world, chance)

    @rule(chance=CHANCE)
    def duplicate_messages(self, chance: random.Random) -> None:
        self.ask(2)
        troubles.duplicate_messages(self.world, chance)

    @rule(depth=st.sampled_from(DEPTHS))
    def reorganise(self, depth: int) -> None:
        reorganise(self.world.chain, depth)

    @rule(name=st.sampled_from(sorted(troubles.LIES)))
    def lie(self, name: str) -> None:
        """From now on, until it lies in another way or behaves."""
        self.world.proxy.do(**troubles.LIES[name])
        self.ask(1)

    @rule()
    def behave(self) -> None:
        self.world.proxy.behave()

    @rule(chance=CHANCE, what=st.sampled_from([troubles.lock_database, troubles.pause_chain, troubles.freeze]))
    def stand_still(self, chance: random.Random, what: Callable[[World, random.Random], str]) -> None:
        what(self.world, chance)

    def teardown(self) -> None:
        self.world.proxy.behave()
        eventually(self._asked_once_more, 30, "the chain takes a request")
        assert self.world.settle_down().faults == ()

    def _asked_once_more(self) -> bool:
        before = self.asked
        self.ask(1)
        return self.asked > before


@pytest.fixture(scope="module", autouse=True)
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with a_chain() as chain, a_world(chain, tmp_path_factory.mktemp("m")) as world:
        Pool.world = world
        yield


TestPool = Pool.TestCase
TestPool.settings = settings(
    deadline=None,
    max_examples=50 if IS_SEARCH else 2,
    stateful_step_count=40 if IS_SEARCH else 8,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
