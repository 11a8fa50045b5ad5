"""TDX under dstack: the real SDK against a guest agent on a Unix socket."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.measurements import tdx_measurement
from oracle.attestation.quoters.dstack import KEY_PATH, DstackQuoter
from oracle.errors import QuoteError, SealingError
from tests.platforms import BUILD, PKI, FakeDstackAgent

DATA = bytes(range(32))


def test_quote_asks_for_64_bytes_and_brings_the_event_log(agent: FakeDstackAgent) -> None:
    evidence = DstackQuoter(agent.socket).evidence(DATA)
    assert agent.asked[-1] == ("/GetQuote", {"report_data": (DATA + bytes(32)).hex()})
    assert json.loads(evidence.event_log)[0]["event"] == "app-id"


def test_measurement_is_the_formula_over_the_domains_report(agent: FakeDstackAgent) -> None:
    expected = tdx_measurement(PKI.td_report(mr_td=BUILD + bytes(16)).encode())
    assert DstackQuoter(agent.socket).measurement() == expected


def test_quote_agent_that_hangs_up_after_each_answer_is_asked_again(agent: FakeDstackAgent) -> None:
    agent.hang_up = True
    quoter = DstackQuoter(agent.socket)
    assert [DATA in quoter.quote(DATA) for _ in range(3)] == [True] * 3


_WRONG: dict[str, Callable[[bytes], bytes]] = {
    "a fixed quote, as the simulator without a seed": lambda _: PKI.quote(QuoteKind.TDX_V4, b"\5" * 64, BUILD),
    "a quote of an enclave": lambda data: PKI.quote(QuoteKind.SGX_V3, data, BUILD),
    "nothing": lambda _: b"",
    "an endless quote": lambda data: PKI.quote(QuoteKind.TDX_V4, data, BUILD) + bytes(64 << 10),
}


@pytest.mark.parametrize("name", _WRONG)
def test_quote_anything_but_a_quote_over_our_data_is_refused(agent: FakeDstackAgent, name: str) -> None:
    quoter = DstackQuoter(agent.socket)
    agent.answer = _WRONG[name]
    with pytest.raises(QuoteError):
        quoter.quote(DATA)
    with pytest.raises(QuoteError):
        DstackQuoter(agent.socket)


@pytest.mark.parametrize("status", [400, 500])
def test_quote_agent_that_refuses_is_an_error(agent: FakeDstackAgent, status: int) -> None:
    quoter = DstackQuoter(agent.socket)
    agent.status = status
    with pytest.raises(QuoteError, match=str(status)):
        quoter.quote(DATA)
    with pytest.raises(SealingError, match=str(status)):
        quoter.sealing_key("state")


def test_quote_agent_that_is_gone_is_an_error(agent: FakeDstackAgent) -> None:
    agent.hang_up = True
    quoter = DstackQuoter(agent.socket)
    agent.stop()
    with pytest.raises(QuoteError, match="does not answer"):
        quoter.quote(DATA)


def test_quoter_without_socket_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("dstack_sdk")
    with pytest.raises(QuoteError, match="no dstack agent"):
        DstackQuoter(tmp_path / "nothing.sock")


def test_quoter_without_the_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dstack_sdk", None)
    with pytest.raises(QuoteError, match=r"adyton\[dstack\]"):
        DstackQuoter(tmp_path)


def test_sealing_key_is_of_the_application(agent: FakeDstackAgent) -> None:
    quoter = DstackQuoter(agent.socket)
    key = quoter.sealing_key("state")
    assert agent.asked[-1][1] == {"path": KEY_PATH, "purpose": "sealing", "algorithm": "secp256k1"}
    agent.application = b"another application"
    assert quoter.sealing_key("state") != key
