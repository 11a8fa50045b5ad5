"""A request's id is on every line about it, in both formats."""

import json
import logging

from oracle.log import JsonFormatter, TextFormatter


def record(message, **extra):
    return logging.getLogger("oracle.jobs.execute").makeRecord(
        "oracle.jobs.execute", 20, "", 0, message, (), None, extra=extra
    )


def test_json_line_has_message_level_and_extra_fields():
    line = json.loads(JsonFormatter().format(record("executed", request_id="0x01", fuel=7)))
    assert (line["message"], line["level"], line["request_id"], line["fuel"]) == ("executed", "info", "0x01", 7)


def test_text_line_has_message_and_extra_fields():
    line = TextFormatter().format(record("executed", request_id="0x01"))
    assert line.endswith("jobs.execute info: executed (request_id=0x01)")
