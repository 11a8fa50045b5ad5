"""What is counted can be read at one address, by this process or by all that share a directory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from oracle import metrics
from oracle.errors import ConfigurationError, RetryableError

ROOT = Path(__file__).parents[2]
PART = """
import sys
from pathlib import Path
from oracle import metrics
metrics.share(Path(sys.argv[1]), sys.argv[2])
for _ in range(int(sys.argv[3])):
    metrics.count("executions", outcome="completed")
    metrics.observe("execution_seconds", 0.002)
metrics.gauge("head_block", int(sys.argv[3]))
"""


def scrape(port: int | None) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        sample.name + "".join(f",{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def part(directory: Path, name: str, count: int) -> None:
    """A process that counts so often and is killed without a chance to clean up."""
    subprocess.run([sys.executable, "-c", PART, str(directory), name, str(count)], check=True, cwd=ROOT)


def test_count_gauge_and_observe_are_shown() -> None:
    before = metrics.value("executions", outcome="trapped")
    metrics.count("executions", outcome="trapped")
    metrics.gauge("head_block", 17)
    metrics.observe("take_seconds", 0.5)
    with metrics.listen("127.0.0.1:0") as port:
        shown = scrape(port)
    assert shown["adyton_executions_total,trapped"] == before + 1
    assert shown["adyton_head_block"] == 17
    assert shown["adyton_take_seconds_count"] >= 1
    assert "adyton_renewal_failures_total" in shown  # there before the first, so that a rate sees it


def test_listen_without_an_address_opens_nothing() -> None:
    with metrics.listen(None) as port:
        assert port is None


def test_listen_taken_port_is_a_configuration_error() -> None:
    with (
        metrics.listen("127.0.0.1:0") as port,
        pytest.raises(ConfigurationError, match="cannot listen for metrics"),
        metrics.listen(f"127.0.0.1:{port}"),
    ):
        pass


@pytest.mark.parametrize("text", ["9464", "localhost", ":9464", "localhost:", "localhost:http", "localhost:65536", ""])
def test_parse_address_malformed_says_what_is_expected(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be host:port"):
        metrics.parse_address(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:9464", ("::1", 9464)), ("h:65535", ("h", 65535))]
)
def test_parse_address_gives_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert metrics.parse_address(text) == expected


def test_reading_that_fails_says_so_and_the_rest_is_still_shown() -> None:
    def read() -> Iterable[metrics.Family]:
        raise RetryableError("away")

    with metrics.listen("127.0.0.1:0", metrics.Reading(read)) as port:
        shown = scrape(port)
    assert shown["adyton_readable"] == 0
    assert "adyton_renewal_failures_total" in shown


def test_reading_is_shown_with_its_labels() -> None:
    reading = metrics.Reading(lambda: [("requests", "Open requests.", ("state",), {("pending",): 3.0})])
    with metrics.listen("127.0.0.1:0", reading) as port:
        shown = scrape(port)
    assert (shown["adyton_requests,pending"], shown["adyton_readable"]) == (3, 1)


def test_shared_counts_add_up_and_survive_a_restart(tmp_path: Path) -> None:
    metrics.clear_shared(tmp_path)
    part(tmp_path, "worker", 2)
    part(tmp_path, "worker-2", 3)
    part(tmp_path, "worker", 5)
    with metrics.listen("127.0.0.1:0", shared=tmp_path) as port:
        shown = scrape(port)
        assert shown["adyton_executions_total,completed"] == 10
        assert shown["adyton_execution_seconds_count"] == 10
        assert shown["adyton_head_block"] == 5  # the most recent
        files = sorted(tmp_path.iterdir())
        part(tmp_path, "worker", 1)
        assert scrape(port)["adyton_executions_total,completed"] == 11
        assert sorted(tmp_path.iterdir()) == files  # restarts leave nothing behind
    metrics.clear_shared(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_shared_file_that_a_crash_left_unreadable_is_begun_anew(tmp_path: Path) -> None:
    part(tmp_path, "worker", 2)
    (tmp_path / "counter_worker.db").write_bytes(b"\xff\xff\x00\x00" + b"\xff" * 60)
    part(tmp_path, "worker", 3)
    with metrics.listen("127.0.0.1:0", shared=tmp_path) as port:
        assert scrape(port)["adyton_executions_total,completed"] == 3


def test_dashboard_and_alerts_use_only_metrics_that_exist() -> None:
    from oracle.status import families  # noqa: PLC0415
    from oracle.store.rows import RequestState  # noqa: PLC0415
    from oracle.store.statistics import Backlog, Waiting  # noqa: PLC0415

    waiting = {state: Waiting(0, None, 0) for state in RequestState}
    read = {name for name, *_ in families(Backlog(waiting, 0, 0, 0, None, 1, 1, {}, {}, {}), 0)} | {"readable"}
    known = {f"adyton_{name}_total" for name in metrics.COUNTS} | {
        f"adyton_{name}" for name in {*metrics.GAUGES, *read}
    }
    known |= {f"adyton_{name}_{end}" for name in metrics.OBSERVATIONS for end in ("bucket", "count", "sum")}
    dashboard = (ROOT / "deploy/grafana/adyton.json").read_text()
    alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    expressions = [target["expr"] for panel in json.loads(dashboard)["panels"] for target in panel.get("targets", ())]
    expressions += re.findall(r"^ +expr: (.*)$", alerts, re.MULTILINE)
    assert len(expressions) > 20
    for expression in expressions:
        assert set(re.findall(r"adyton_\w+", expression)) <= known, expression


def test_every_alert_has_its_paragraph_in_the_manual() -> None:
    alerts = re.findall(r"^ +- alert: (\w+)$", (ROOT / "deploy/prometheus/alerts.yml").read_text(), re.MULTILINE)
    manual = (ROOT / "docs/OPERATING.md").read_text()
    section = manual[manual.index("\n## Alarms") :]
    assert alerts
    assert [name for name in alerts if f"**{name}.**" not in section] == []
