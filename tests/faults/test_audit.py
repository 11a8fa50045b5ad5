"""The audit finds what it is there to find, on a real chain on which somebody does it wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from oracle import anvil
from oracle.chain.contracts import encode_expire
from oracle.config import Settings
from oracle.types.ids import Address, ProgramId
from oracle.wiring import open_wallet
from tests.faults.audit import Deployed, audit, open_requests
from tests.faults.world import FIRST, deployed
from tests.integration.conftest import Chain, build_chain


@pytest.fixture
def chain() -> Iterator[Chain]:
    with anvil.running() as node:
        built = build_chain(node)
        yield built
        built.rpc.close()


def _expire(chain: Chain) -> None:
    """A request, and its refund by the relay account."""
    request_id = chain.request(wait_s=60).request.request_id
    chain.rpc.call("evm_increaseTime", 120)
    relay = open_wallet(Settings(), chain.rpc, FIRST)
    relay.send(chain.coprocessor, encode_expire(request_id, chain.pool_id))


def _faults(about: Deployed) -> str:
    return "\n".join(audit(about).faults)


def test_audit_all_is_well_says_what_happened(chain: Chain) -> None:
    _expire(chain)
    report = audit(deployed(chain))
    assert (report.requests, report.expired, report.settled, report.faults) == (1, 1, 0, ())
    assert report.refunds_wei == 10**16
    assert dict(report.transactions) == {"expire": 1}
    assert "1 expired" in str(report)


def test_audit_open_request_is_a_fault(chain: Chain) -> None:
    request_id = chain.request().request.request_id
    assert open_requests(deployed(chain)) == {request_id}
    assert "ended 0 times" in _faults(deployed(chain))


def test_audit_money_that_is_missing_is_a_fault(chain: Chain) -> None:
    _expire(chain)
    chain.rpc.call("anvil_setBalance", chain.deployment.coprocessor, hex(10**16 - 1))
    assert "could withdraw None wei by withdrawRefunds" in _faults(deployed(chain))
    chain.rpc.call("anvil_setBalance", chain.deployment.coprocessor, hex(10**16 + 1))
    assert "balance 10000000000000001" in _faults(deployed(chain))


def test_audit_stranded_transaction_is_a_fault(chain: Chain) -> None:
    """A nonce was passed over, and nothing after it is ever mined."""
    _expire(chain)
    sender, other = Address(FIRST.address), Address(anvil.ACCOUNTS[0].address)
    call = {"from": "0x" + sender.hex(), "to": "0x" + other.hex(), "nonce": "0x5"}
    chain.rpc.call("eth_sendTransaction", call)
    assert "stranded" in _faults(deployed(chain))


def test_audit_relay_that_calls_something_else_is_a_fault(chain: Chain) -> None:
    _expire(chain)
    relays = (*deployed(chain).relays, chain.asker.address)  # who asks, which no relay does
    assert "no relay calls" in _faults(replace(deployed(chain), relays=relays))


def test_audit_program_id_of_another_program_leaves_outputs_unchecked(chain: Chain) -> None:
    _expire(chain)
    assert _faults(replace(deployed(chain), program_id=ProgramId(bytes(32)))) == ""
