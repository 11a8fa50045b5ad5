"""One real executor for all unit tests of the enclave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oracle.enclave.compiler import Compiler
from tests.unit.enclave.machine import Machine
from tests.web import Net


@pytest.fixture(scope="session")
def shared_machine() -> Iterator[Machine]:
    machine = Machine(Compiler())
    yield machine
    machine.close()


@pytest.fixture
def machine(shared_machine: Machine) -> Machine:
    """The session's machine, with caches as other tests left them and no contents."""
    shared_machine.contents.clear()
    shared_machine.asked.clear()
    shared_machine.pipe = Net().dialer()
    return shared_machine
