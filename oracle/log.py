"""
Logging for every process: one line per event on stderr, readable or JSON.

A request is always named by `request_id`, so its way through watcher, worker and submitter can be followed: in `extra`,
or for every line of a block by `with about(request_id=...)`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

LogFormat = Literal["text", "json"]
_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}


_about: ContextVar[Mapping[str, object]] = ContextVar("about", default={})  # noqa: B039  # never changed, only replaced


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Add `fields` to every line that this thread logs in the block."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def _extra(record: logging.LogRecord) -> Mapping[str, object]:
    own = {key: value for key, value in record.__dict__.items() if key not in _STANDARD_FIELDS}
    return {**_about.get(), **own}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message, and every `extra` field."""

    def format(self, record: logging.LogRecord) -> str:
        """Render `record`; values JSON does not know become text."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """`12:00:00 watcher info: message (key=value …)`."""

    def format(self, record: logging.LogRecord) -> str:
        """Render `record` for a terminal."""
        clock = time.strftime("%H:%M:%S", time.gmtime(record.created))
        name = record.name.removeprefix("oracle.")
        fields = " ".join(f"{key}={value}" for key, value in _extra(record).items())
        line = f"{clock} {name} {record.levelname.lower()}: {record.getMessage()}" + (f" ({fields})" if fields else "")
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def set_up(log_format: LogFormat = "text", level: str = "INFO") -> None:
    """Send all logs of this process to stderr in `log_format`. Later calls replace earlier ones."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in (
        "httpx",
        "httpcore",
        "websockets",
        "celery.worker.strategy",
        "celery.app.trace",
        "kombu",
    ):
        logging.getLogger(noisy).setLevel("WARNING")
