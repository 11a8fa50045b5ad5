"""F1 to F8: what a program may fetch, what it gets, and what the receipt commits to. Servers and host are hostile."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from oracle.crypto.hashing import keccak256
from oracle.enclave.outcome import HostError, Result
from oracle.enclave.web.session import FETCH_FUEL, MAX_REDIRECTS
from oracle.jobs.dialer import Dialer
from oracle.types.receipt import Outcome
from oracle.types.transcript import NO_HASH
from oracle.types.web import FetchTerms
from tests.unit.enclave.machine import CREATED_AT_S, DEFAULT_LIMITS, Machine
from tests.web import (
    AUTHORITY,
    HOST,
    OTHER_AUTHORITY,
    Behaviour,
    Net,
    answers,
    cuts_off,
    net,
    redirects,
    sends,
    serving,
)

TERMS = FetchTerms((HOST, f"2.{HOST}", "10000.example:8443"), ("GET", "HEAD", "POST"), 8, 100_000, 20_000)
URL = f"https://{HOST}/path?q=1"
GET = f"""async function main() {{
  const response = await fetch("{URL}");
  return `${{response.status}} ${{response.redirected}} ${{response.url}} ${{await response.text()}}`;
}}"""


def get(machine: Machine, *behaviours: Behaviour, source: str = GET, terms: FetchTerms = TERMS) -> Result:
    with net(*behaviours) as (there, _):
        machine.pipe = there.dialer()
        return machine.js(source, fetch=terms)


def refused(result: Result, reason: str) -> None:
    """The program was told so; it did not catch it; the attempt is in the transcript, without an answer."""
    assert result.outcome is Outcome.TRAPPED
    assert result.output.decode().startswith("TypeError: fetch failed: ")
    assert reason in result.output.decode()
    last = result.transcript[-1]
    assert (last.status, last.body_hash, last.certificate_hash) == (0, NO_HASH, NO_HASH)


# -- what works --------------------------------------------------------------------------------------------------------


def test_fetch_answer_reaches_the_program_and_the_transcript(machine: Machine) -> None:
    result = get(machine, answers(b"1.25"))
    assert result.output.decode() == f"200 false {URL} 1.25"
    [fetched] = result.transcript
    assert (fetched.url, fetched.method, fetched.status) == (URL, "GET", 200)
    assert (fetched.request_hash, fetched.body_hash) == (keccak256(b""), keccak256(b"1.25"))
    assert fetched.certificate_hash == AUTHORITY.identity()[1]
    assert CREATED_AT_S <= fetched.time_s <= CREATED_AT_S + 600


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oh", "204 No Content"])
def test_fetch_any_status_is_an_answer(machine: Machine, status: str) -> None:
    assert get(machine, answers(status=status)).output.decode().startswith(status[:3])


def test_fetch_post_sends_headers_and_body_and_json_comes_back(machine: Machine) -> None:
    source = f"""async function main() {{
      const headers = new Headers([["X-One", "1"]]);
      headers.append("x-one", "2");
      const response = await fetch("{URL}", {{ method: "post", headers, body: new Uint8Array([1, 2, 3]) }});
      const {{ price }} = await response.clone().json();
      const again = await response.text().then(() => response.text()).catch((error) => error.name);
      return [response.ok, response.headers.get("X-Two"), price, response.bodyUsed, again].join();
    }}"""
    with net(answers(b'{"price":"7"}', "X-Two: b")) as (there, [server]):
        machine.pipe = there.dialer()
        result = machine.js(source, fetch=TERMS)
    assert result.output == b"true,b,7,true,TypeError"
    assert server.requests[0].startswith(b"POST /path?q=1 HTTP/1.1\r\nhost: prices.example\r\nx-one: 1, 2\r\n")
    assert server.requests[0].endswith(b"\r\n\r\n\x01\x02\x03")
    assert result.transcript[0].request_hash == keccak256(b"\x01\x02\x03")


def test_fetch_several_at_once_and_some_that_fail_are_settled(machine: Machine) -> None:
    source = f"""async function main() {{
      const urls = ["{URL}", "https://2.{HOST}/", "https://elsewhere.example/"];
      const all = await Promise.allSettled(urls.map((url) => fetch(url).then((response) => response.text())));
      return all.map((one) => one.value ?? one.status).join();
    }}"""
    assert get(machine, answers(b"a"), answers(b"b"), source=source).output == b"a,b,rejected"


def test_fetch_redirect_is_followed_and_each_hop_committed(machine: Machine) -> None:
    result = get(machine, redirects(f"//2.{HOST}/b"), answers(b"there"))
    assert result.output.decode() == f"200 true https://2.{HOST}/b there"
    assert [(it.url, it.status) for it in result.transcript] == [(URL, 302), (f"https://2.{HOST}/b", 200)]


def test_fetch_redirected_post_becomes_a_get_and_takes_no_secret_elsewhere(machine: Machine) -> None:
    source = f"""async function main() {{
      const headers = {{ authorization: "secret", "content-type": "text/x" }};
      return (await fetch("{URL}", {{ method: "POST", headers, body: "body" }})).text();
    }}"""
    with net(redirects(f"https://2.{HOST}/"), answers(b"ok")) as (there, [first, second]):
        machine.pipe = there.dialer()
        assert machine.js(source, fetch=TERMS).output == b"ok"
    assert b"authorization: secret" in first.requests[0]
    assert second.requests[0].startswith(b"GET / ")
    assert b"secret" not in second.requests[0]
    assert b"content-type" not in second.requests[0]


@pytest.mark.parametrize(("mode", "expected"), [("manual", b"302 /b"), ("error", b"rejected")])
def test_fetch_redirect_mode_is_kept(machine: Machine, mode: str, expected: bytes) -> None:
    source = f"""const main = () => fetch("{URL}", {{ redirect: "{mode}" }})
      .then((response) => response.status + " " + response.headers.get("location"), () => "rejected");"""
    assert get(machine, redirects("/b"), source=source).output == expected


def test_fetch_head_has_no_body_and_chunks_are_joined(machine: Machine) -> None:
    source = f"""async function main() {{
      const head = await fetch("{URL}", {{ method: "HEAD" }});
      const rest = await fetch("https://2.{HOST}/");
      return [(await head.bytes()).length, head.headers.get("content-length"), await rest.text()].join();
    }}"""
    chunked = sends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    empty = sends(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    assert get(machine, empty, chunked, source=source).output == b"0,5,abcde"


def test_fetch_body_that_ends_with_the_stream_counts_if_the_server_ended_it(machine: Machine) -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\nall of it"
    assert get(machine, sends(data)).output.endswith(b"all of it")
    refused(get(machine, cuts_off(data)), "the connection was cut off")


def test_fetch_in_webassembly_gives_status_head_and_body(machine: Machine) -> None:
    text = f"GET {URL} follow"
    source = f"""(module
      (import "adyton" "fetch" (func $fetch (param i32 i32 i32 i32) (result i32)))
      (import "adyton" "fetch_size" (func $size (param i32) (result i32)))
      (import "adyton" "fetch_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (import "adyton" "output" (func $output (param i32 i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "{text}")
      (func (export "run")
        (i32.store (i32.const 1000) (call $fetch (i32.const 0) (i32.const {len(text)}) (i32.const 0) (i32.const 0)))
        (call $output (i32.const 1000) (i32.const 2))
        (call $output (i32.const 2000)
          (call $read (i32.const 0) (i32.const 2000) (i32.const 0) (call $size (i32.const 0))))
        (call $output (i32.const 2000) (call $read (i32.const 1) (i32.const 2000) (i32.const 0) (i32.const 9)))))"""
    with net(answers(b"body")) as (there, _):
        machine.pipe = there.dialer()
        assert machine.wasm(source, fetch=TERMS).output == b"\xc8\x00body200 0 4 h"
    machine.pipe = Net().dialer()
    failed = machine.wasm(source, fetch=TERMS).output
    assert failed == b"\x00\x00no connection to prices.example0\nno conn"
    assert machine.wasm(source).outcome is Outcome.DENIED
    assert (
        machine.wasm(
            source.replace("(i32.const 1) (i32.const 2000)", "(i32.const 2) (i32.const 2000)"), fetch=TERMS
        ).outcome
        is Outcome.TRAPPED
    )


# -- F1: nothing but what the manifest lists is reachable --------------------------------------------------------------

UNREACHABLE = [
    "http://prices.example/",
    "https://prices.example:8443/",
    "https://other.example/",
    "https://prices.example.other.example/",
    "https://user:password@prices.example/",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://localhost/",
    "https://prices.example\\@other.example/",
    "file:///etc/passwd",
    "//prices.example/",
    "",
    "https://prices.example/ x\nhost: other.example",
]


@pytest.mark.parametrize("url", UNREACHABLE)
def test_fetch_url_that_is_not_listed_is_refused_before_anything_is_sent(machine: Machine, url: str) -> None:
    machine.pipe = Net({HOST: ("127.0.0.1", 1)}).dialer()
    result = machine.js(f"const main = () => fetch({url!r})", fetch=TERMS)
    assert result.outcome is Outcome.TRAPPED
    if "\n" not in url:
        assert result.transcript == ()


@pytest.mark.parametrize(
    "place",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/",
        f"http://{HOST}/",
        "https://other.example/",
        f"https://{HOST}:8443/",
        "ftp://x.example/",
        "javascript:alert(1)",
        "https://[",
        "//evil.example",
        "/\\evil.example",
        "https://prices.example%2eevil.example/",
    ],
)
def test_fetch_redirect_to_what_is_not_listed_is_refused(machine: Machine, place: str) -> None:
    result = get(machine, redirects(place))
    assert result.outcome is Outcome.TRAPPED
    assert [it.status for it in result.transcript] == [302]


def test_fetch_redirect_without_end_is_refused(machine: Machine) -> None:
    result = get(machine, redirects("/again"))
    assert b"redirects" in result.output
    assert len(result.transcript) == MAX_REDIRECTS + 1


def test_fetch_method_that_is_not_listed_is_refused(machine: Machine) -> None:
    source = f'const main = () => fetch("{URL}", {{ method: "DELETE" }})'
    assert b"does not allow DELETE" in machine.js(source, fetch=TERMS).output


def test_fetch_without_the_capability_is_denied(machine: Machine) -> None:
    result = machine.js(GET)
    assert (result.outcome, result.transcript) == (Outcome.DENIED, ())
    assert b"'fetch'" in result.output


def test_fetch_at_the_top_level_is_refused(machine: Machine) -> None:
    source = f'let reason; fetch("{URL}").catch((error) => {{ reason = error.message }}); const main = () => reason;'
    assert b"main alone" in machine.js(source, fetch=TERMS).output


@pytest.mark.parametrize(
    "name", ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Sec-X", "Bad Name", "X\r\nY"]
)
def test_fetch_header_that_is_not_the_programs_is_refused(machine: Machine, name: str) -> None:
    source = f'const main = () => fetch("{URL}", {{ headers: [[{name!r}, "1"]] }})'
    result = machine.js(source, fetch=TERMS)
    assert (result.outcome, result.transcript) == (Outcome.TRAPPED, ())


@pytest.mark.parametrize("value", ["a\r\nb: c", "é", "\0"])
def test_fetch_header_value_that_is_not_printable_is_refused(machine: Machine, value: str) -> None:
    source = f'const main = () => fetch("{URL}", {{ headers: {{ "x-y": {value!r} }} }})'
    result = machine.js(source, fetch=TERMS)
    assert (result.outcome, result.transcript) == (Outcome.TRAPPED, ())


# -- F2: TLS ends here, and only the server that was named is believed -------------------------------------------------


@pytest.mark.parametrize(
    ("authority", "host", "validity", "reason"),
    [
        (OTHER_AUTHORITY, HOST, (-86_400, 86_400), "not to be trusted"),  # a man in the middle
        (AUTHORITY, "other.example", (-86_400, 86_400), "not to be trusted"),  # another server answers
        (AUTHORITY, f"2.{HOST}", (-86_400, 86_400), "not to be trusted"),
        (AUTHORITY, HOST, (-86_400, -1), "not valid now"),  # expired before the request was made
        (AUTHORITY, HOST, (601, 86_400), "not valid now"),  # not valid before its deadline
    ],
)
def test_fetch_certificate_of_another_authority_host_or_time_is_refused(
    machine: Machine, authority: object, host: str, validity: tuple[int, int], reason: str
) -> None:
    assert isinstance(authority, type(AUTHORITY))
    with serving(answers(b"lie"), authority.identity(host, *validity)[0]) as server:
        machine.pipe = Net({HOST: ("127.0.0.1", server.port)}).dialer()
        refused(machine.js(GET, fetch=TERMS), reason)
    assert server.requests == []  # not even the request got out


def test_fetch_tls_too_old_is_refused(machine: Machine) -> None:
    context, _ = AUTHORITY.identity(HOST, -86_399)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with serving(answers(b"old"), context) as server:
        machine.pipe = Net({HOST: ("127.0.0.1", server.port)}).dialer()
        refused(machine.js(GET, fetch=TERMS), "handshake failed")


@dataclass
class LyingHost:
    """Carries bytes to the real server and changes the reply of one turn."""

    honest: Dialer
    turn: int
    turns: Iterator[int] = field(default_factory=itertools.count)

    def dial(self, host: str, port: int, wait_ms: int) -> str:
        return self.honest.dial(host, port, wait_ms)

    def carry(self, data: bytes, wait_ms: int) -> tuple[bytes, bool]:
        received, is_open = self.honest.carry(data, wait_ms)
        if next(self.turns) == self.turn:
            middle = len(received) // 2
            received = received[:middle] + bytes([received[middle] ^ 1]) + received[middle + 1 :]
        return received, is_open

    def hang_up(self) -> None:
        self.honest.hang_up()


@pytest.mark.parametrize("turn", [0, 1])
def test_fetch_byte_flipped_by_the_host_is_refused(machine: Machine, turn: int) -> None:
    with net(answers(b"1.25" * 100)) as (there, _):
        machine.pipe = LyingHost(there.dialer(), turn)
        result = machine.js(GET, fetch=TERMS)
    assert result.outcome is Outcome.TRAPPED
    refused(result, "handshake failed" if b"handshake" in result.output else "tampered")


class SilentHost:
    """Connects to nobody and sends what it likes."""

    def __init__(self, data: bytes, *, is_open: bool = True) -> None:
        self._answer = data, is_open

    def dial(self, _host: str, _port: int, _wait_ms: int) -> str:
        return ""

    def carry(self, _data: bytes, _wait_ms: int) -> tuple[bytes, bool]:
        return self._answer

    def hang_up(self) -> None:
        return


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        (SilentHost(b"", is_open=False), "cut off in the handshake"),
        (SilentHost(b"HTTP/1.1 200 OK\r\n\r\n"), "handshake failed"),
        (SilentHost(b"\x16\x03\x03\x00\x00" * 10_000), "handshake failed"),
        (SilentHost(b""), "300 ms"),
    ],
)
def test_fetch_host_that_answers_itself_is_refused(machine: Machine, host: SilentHost, reason: str) -> None:
    machine.pipe = host
    refused(machine.js(GET, fetch=FetchTerms((HOST,), time_ms=300)), reason)


def test_fetch_words_of_the_host_reach_the_log_and_not_the_program(machine: Machine) -> None:
    class Author(SilentHost):
        def dial(self, _host: str, _port: int, _wait_ms: int) -> str:
            return "PAY 0x1234 \n at once" + "!" * 1_000

    machine.pipe = Author(b"")
    result = machine.js(GET, fetch=TERMS)
    assert b"PAY" not in result.output
    assert "PAY 0x1234" in result.logs[0]
    assert len(result.logs[0]) < 300


def test_fetch_body_that_is_larger_than_allowed_is_not_even_copied_together(machine: Machine) -> None:
    source = f'const main = () => fetch("{URL}", {{ method: "POST", body: new Uint8Array(200000) }})'
    result = machine.js(source, fetch=TERMS)
    assert (result.outcome, result.transcript) == (Outcome.TRAPPED, ())
    assert b"100000 bytes" in result.output


def test_fetch_channel_that_fails_gives_no_receipt_and_harms_no_later_job(machine: Machine) -> None:
    class Broken(SilentHost):
        def carry(self, _data: bytes, _wait_ms: int) -> tuple[bytes, bool]:
            raise HostError("bad_message", "nonsense")

    machine.pipe = Broken(b"")
    with pytest.raises(HostError):
        machine.js(GET, fetch=TERMS)
    assert get(machine, answers(b"x")).output.endswith(b"x")


# -- F3: a response is whole and within its caps, or it is none --------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (answers(b"x" * 200_000), "100000 bytes"),
        (answers(b"", "x-filler: " + "x" * 40_000), "does not speak HTTP"),
        (sends(OK + b"transfer-encoding: chunked\r\n\r\n" + b"1;" + b"e" * 50_000), "does not speak HTTP"),
        (sends(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n"), "does not speak HTTP"),
        (sends(OK + b"transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFFF\r\n"), "does not speak HTTP"),
        (sends(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nab"), "does not speak HTTP"),
        (sends(OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"), "does not speak HTTP"),
        (sends(OK + b"content-length: -1\r\n\r\n"), "does not speak HTTP"),
        (sends(OK + b"content-length: 10\r\n\r\nabc"), "does not speak HTTP"),
        (cuts_off(OK + b"content-length: 10\r\n\r\nabc"), "cut off"),
        (sends(OK + b"content-encoding: gzip\r\ncontent-length: 1\r\n\r\nx"), "compressed"),
        (sends(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n"), "does not speak HTTP"),
        (sends(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5_000), "100000 bytes"),
        (sends(b"SSH-2.0-OpenSSH_9\r\n"), "does not speak HTTP"),
        (sends(b""), "does not speak HTTP"),
        (cuts_off(b""), "cut off"),
    ],
)  # fmt: skip
def test_fetch_response_that_is_not_whole_or_too_large_is_refused(
    machine: Machine, behaviour: Behaviour, reason: str
) -> None:
    refused(get(machine, behaviour), reason)


def test_fetch_slow_body_ends_with_the_time_and_costs_no_wall_time(machine: Machine) -> None:
    def drips(stream: ssl.SSLSocket, _request: bytes) -> None:
        stream.sendall(OK + b"content-length: 100\r\n\r\nx")
        stream.recv(1)  # for ever, as far as the enclave is concerned

    source = f"""async function main() {{
      const reason = await fetch("{URL}").catch((error) => error.message);
      return reason + " / " + (await fetch("https://2.{HOST}/").catch((error) => error.message));
    }}"""
    limits = type(DEFAULT_LIMITS)(wall_time_ms=200)
    with net(drips, answers(b"late")) as (there, _):
        machine.pipe = there.dialer()
        result = machine.js(source, fetch=FetchTerms(TERMS.hosts, time_ms=600), limits=limits)
    assert result.outcome is Outcome.COMPLETED
    assert result.output.count(b"600 ms") == 2


def test_fetch_more_calls_than_allowed_are_refused(machine: Machine) -> None:
    source = f"""async function main() {{
      await fetch("{URL}");
      await fetch("{URL}");
      return fetch("{URL}").catch((error) => error.message);
    }}"""
    result = get(machine, answers(b"x"), source=source, terms=FetchTerms((HOST,), calls=2))
    assert result.output == b"fetch failed: the manifest allows 2 calls"
    assert len(result.transcript) == 2


# -- F4: fuel follows from what was sent and what came; F5: every outcome commits to what was fetched ------------------


def test_fetch_same_answers_cost_the_same_fuel_and_more_bytes_cost_more(machine: Machine) -> None:
    first, again, longer = (get(machine, answers(body)) for body in (b"x" * 10, b"x" * 10, b"x" * 1_000))
    assert first == again
    assert FETCH_FUEL < first.fuel_used < longer.fuel_used


@pytest.mark.parametrize(
    ("rest", "limits", "outcome"),
    [
        ("throw new Error('no')", DEFAULT_LIMITS, Outcome.TRAPPED),
        ("for (;;);", type(DEFAULT_LIMITS)(fuel=60_000_000), Outcome.OUT_OF_FUEL),
        ("for (;;);", type(DEFAULT_LIMITS)(wall_time_ms=40, fuel=2**50), Outcome.DENIED),
        ("for (;;);", type(DEFAULT_LIMITS)(wall_time_ms=40), Outcome.TIMED_OUT),
        ("return 'x'.repeat(100000)", DEFAULT_LIMITS, Outcome.OUTPUT_TOO_LARGE),
    ],
)
def test_fetch_whatever_the_outcome_what_was_fetched_is_in_the_result(
    machine: Machine, rest: str, limits: object, outcome: Outcome
) -> None:
    source = f'async function main() {{ await fetch("{URL}"); {rest} }}'
    assert isinstance(limits, type(DEFAULT_LIMITS))
    with net(answers(b"seen")) as (there, _):
        machine.pipe = there.dialer()
        result = machine.js(source, fetch=TERMS, limits=limits)
    assert result.outcome is outcome
    expected = [] if outcome is Outcome.DENIED else [keccak256(b"seen")]
    assert [it.body_hash for it in result.transcript] == expected


def test_fetch_fuel_that_does_not_suffice_sends_nothing(machine: Machine) -> None:
    with net(answers(b"x")) as (there, [server]):
        machine.pipe = there.dialer()
        result = machine.js(GET, fetch=TERMS, limits=type(DEFAULT_LIMITS)(fuel=FETCH_FUEL))
    assert (result.outcome, server.requests, result.transcript) == (Outcome.OUT_OF_FUEL, [], ())
