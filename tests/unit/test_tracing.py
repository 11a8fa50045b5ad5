"""Traces: nothing is imported without the option; with it, one trace per request whatever process took which step."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from oracle import tracing
from oracle.errors import ConfigurationError
from tests.fakes import eventually

ROOT = Path(__file__).parents[2]
REQUEST_ID = bytes(range(1, 33))


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """An OTLP/HTTP collector that remembers the bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            assert self.path == "/v1/traces"
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", bodies
    server.shutdown()
    server.server_close()
    thread.join()
    tracing.set_up(None, "")


def test_span_without_the_option_imports_nothing() -> None:
    code = (
        "import sys; from oracle import tracing, parts\n"
        "with tracing.span('execute', bytes(32)): pass\n"
        "tracing.record('settle', bytes(32), 1, 2)\n"
        "assert not tracing.is_on()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_spans_of_a_request_are_one_trace(collector: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    endpoint, bodies = collector
    tracing.set_up(endpoint, "worker@here")
    with tracing.span("execute", REQUEST_ID):
        pass
    tracing.record("settle", REQUEST_ID, 1_000, 3_500)
    with pytest.raises(ZeroDivisionError), tracing.span("submit", REQUEST_ID):
        raise ZeroDivisionError

    def spans() -> list[object]:
        found = []
        for body in list(bodies):
            for resource in trace_service.ExportTraceServiceRequest.FromString(body).resource_spans:
                found += [span for scope in resource.scope_spans for span in scope.spans]
        return found if len(found) == 3 else []

    by_name = {span.name: span for span in eventually(spans)}  # type: ignore[attr-defined]
    assert {span.trace_id for span in by_name.values()} == {REQUEST_ID[:16]}
    assert {span.parent_span_id for span in by_name.values()} == {REQUEST_ID[16:24]}
    assert by_name["settle"].end_time_unix_nano - by_name["settle"].start_time_unix_nano == 2_500_000_000
    assert [by_name[name].status.code for name in ("execute", "submit")] == [0, 2]
    (attribute,) = by_name["execute"].attributes
    assert (attribute.key, attribute.value.string_value) == ("request_id", "0x" + REQUEST_ID.hex())


def test_set_up_without_opentelemetry_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigurationError, match=r"adyton\[otel\]"):
        tracing.set_up("http://127.0.0.1:1", "worker")
    assert not tracing.is_on()
