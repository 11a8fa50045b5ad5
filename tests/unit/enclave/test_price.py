"""The price oracle of the examples: a price when enough exchanges agree, and no price otherwise."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from eth_abi.abi import decode, encode

from oracle.enclave.outcome import Result
from oracle.types.receipt import Outcome
from tests.unit.enclave.machine import CREATED_AT_S, Machine
from tests.web import AUTHORITY, OTHER_AUTHORITY, Behaviour, Net, answers, cuts_off, redirects, serving

PROGRAMS = Path(__file__).parents[3] / "examples" / "programs"
SOURCE, MANIFEST = (PROGRAMS / "price.js").read_bytes(), (PROGRAMS / "price.manifest.json").read_bytes()
COINBASE, BITSTAMP, GEMINI, KRAKEN = HOSTS = (
    "api.exchange.coinbase.com",
    "www.bitstamp.net",
    "api.gemini.com",
    "api.kraken.com",
)
ETH = encode(["string"], ["ETH"])


def says(host: str, price: str, time_s: int = CREATED_AT_S) -> Behaviour:
    """What the exchange answers."""
    iso = datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456Z")
    body = {
        COINBASE: f'{{"ask":"9","bid":"1","volume":"5","trade_id":1,"price":"{price}","size":"1","time":"{iso}"}}',
        BITSTAMP: f'{{"timestamp": "{time_s}", "open": "1", "high": "2", "low": "1", "last": "{price}"}}',
        GEMINI: f'{{"bid":"1","ask":"9","volume":{{"ETH":"5","USD":"6","timestamp":{time_s}000}},"last":"{price}"}}',
        KRAKEN: f'{{"error":[],"result":{{"XETHZUSD":[["{price}","0.5",{time_s}.1234567,"b","l","",1]],"last":"1"}}}}',
    }[host]
    return answers(body.encode(), "content-type: application/json")


PRICES = {COINBASE: "2000.01", BITSTAMP: "2000", GEMINI: "2001.5", KRAKEN: "1999.99000"}
ALL = {host: says(host, price) for host, price in PRICES.items()}


def run(machine: Machine, behaviours: dict[str, Behaviour], data: bytes = ETH, *, liar: str = "") -> Result:
    with ExitStack() as stack:
        there = Net()
        for host, behaviour in behaviours.items():
            authority = OTHER_AUTHORITY if host == liar else AUTHORITY
            server = stack.enter_context(serving(behaviour, authority.identity(host)[0]))
            there.places[host] = ("127.0.0.1", server.port)
        machine.pipe = there.dialer()
        return machine.execute(machine.order(SOURCE, data, manifest=MANIFEST))


def price(result: Result) -> tuple[int, int, int]:
    assert result.outcome is Outcome.COMPLETED, result.output
    got: tuple[int, int, int] = decode(["uint256", "uint64", "uint8"], result.output)
    return got


def test_price_four_that_agree_is_their_median_and_all_are_committed(machine: Machine) -> None:
    result = run(machine, {**ALL, KRAKEN: says(KRAKEN, "1999.99", CREATED_AT_S - 100)})
    assert price(result) == (200_000_500_000, CREATED_AT_S - 100, 4)
    assert [fetched.url.split("/")[2] for fetched in result.transcript] == list(HOSTS)
    assert {fetched.status for fetched in result.transcript} == {200}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "trouble",
    ["away", "middle", "status", "old", "future", "far", "nonsense", "float", "zero", "redirect", "cut"],
)
def test_price_one_source_in_trouble_does_not_count(machine: Machine, host: str, trouble: str) -> None:
    with_trouble = {
        "away": None,
        "middle": ALL[host],
        "status": answers(b"{}", status="500 Oh"),
        "old": says(host, PRICES[host], CREATED_AT_S - 121),
        "future": says(host, PRICES[host], CREATED_AT_S + 10_000),
        "far": says(host, "2100"),
        "nonsense": answers(b"<html>"),
        "float": says(host, "2e3"),
        "zero": says(host, "0.000000001"),
        "redirect": redirects("https://169.254.169.254/latest/meta-data/"),
        "cut": cuts_off(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"),
    }[trouble]
    behaviours = {key: value for key, value in {**ALL, host: with_trouble}.items() if value is not None}
    result = run(machine, behaviours, liar=host if trouble == "middle" else "")
    left = sorted(int(float(value) * 10**8) for key, value in PRICES.items() if key != host)
    assert price(result) == (left[1], CREATED_AT_S, 3)
    assert trouble == "far" or host in result.logs[0]


def test_price_two_sources_in_trouble_is_no_price(machine: Machine) -> None:
    result = run(machine, {COINBASE: ALL[COINBASE], KRAKEN: ALL[KRAKEN]})
    assert (result.outcome, result.output[:35]) == (Outcome.TRAPPED, b"Error: 2 sources answered, 3 are ne")
    assert [fetched.status for fetched in result.transcript] == [200, 0, 0, 200]


def test_price_two_against_two_is_no_price(machine: Machine) -> None:
    result = run(machine, {**ALL, GEMINI: says(GEMINI, "2100"), BITSTAMP: says(BITSTAMP, "2101")})
    assert b"0 sources agree" in result.output


@pytest.mark.parametrize("asset", ["", "eth", "ETH/USD", "../../x", "TOOLONG", "E&a=b"])
def test_price_asset_that_is_none_is_refused_before_anything_is_fetched(machine: Machine, asset: str) -> None:
    result = run(machine, {}, encode(["string"], [asset]))
    assert (result.outcome, result.transcript) == (Outcome.TRAPPED, ())
