"""
Traces of requests, by option: one trace per request, one span per step, whichever process took it.

    with tracing.span("execute", request_id):
        ...
    tracing.record("settle", request_id, sent_at_ms, now_ms)

A trace's id is the first half of the request id, so watcher, worker and submitter need not tell each other anything.
Off until `set_up` was given where to send the spans; OpenTelemetry (the extra `otel`) is imported only then. A
collector that is away costs spans, never a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import time_ns
from typing import Literal

from oracle.errors import ConfigurationError

Step = Literal["watch", "execute", "submit", "settle"]

# (step, request id, start and end in nanoseconds of unix time, whether it failed)
Recorder = Callable[[Step, bytes, int, int, bool], None]
_recorder: list[Recorder] = []
_MS = 1_000_000


def set_up(endpoint: str | None, service: str) -> None:
    """
    Send spans to `endpoint`, the base URL of an OTLP/HTTP collector; None switches tracing off.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    _recorder.clear()
    if endpoint is not None:
        _recorder.append(_exporting(endpoint, service))


def is_on() -> bool:
    """Whether spans go anywhere."""
    return bool(_recorder)


@contextmanager
def span(step: Step, request_id: bytes) -> Iterator[None]:
    """The block is one step of this request. An exception marks it as failed."""
    if not _recorder:
        yield
        return

    started, failed = time_ns(), True
    try:
        yield
        failed = False
    finally:
        _recorder[0](step, request_id, started, time_ns(), failed)


def record(step: Step, request_id: bytes, start_ms: int, end_ms: int) -> None:
    """A step of this request that is over."""
    if _recorder:
        _recorder[0](step, request_id, start_ms * _MS, max(start_ms, end_ms) * _MS, False)


def _exporting(endpoint: str, service: str) -> Recorder:
    try:
        from opentelemetry import trace  # noqa: PLC0415  # only with the option
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "trace_endpoint is set, but OpenTelemetry is not installed: `pip install adyton[otel]`"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "adyton", "service.instance.id": service}))
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2_048))
    tracer = provider.get_tracer("oracle")

    def export(step: Step, request_id: bytes, start_ns: int, end_ns: int, failed: bool) -> None:
        parent = trace.SpanContext(
            trace_id=int.from_bytes(request_id[:16], "big"),
            span_id=int.from_bytes(request_id[16:24], "big"),
            is_remote=True,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        )
        made = tracer.start_span(
            step,
            context=trace.set_span_in_context(trace.NonRecordingSpan(parent)),
            start_time=start_ns,
            attributes={"request_id": "0x" + request_id.hex()},
        )
        if failed:
            made.set_status(trace.StatusCode.ERROR)
        made.end(end_time=end_ns)

    return export
