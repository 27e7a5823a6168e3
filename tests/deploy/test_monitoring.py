"""Alerts ask for metrics that a node counts, with labels that it sets, and each is explained to people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.devtool.place import ROOT
from leeside_protocol.errors import CloseCode, WireError
from leeside_server.config import DEFAULT_PORT, STATUS_PORT
from leeside_server.core.paging import Result
from leeside_server.relay.metrics import Metrics
from leeside_server.video.metrics import WHY_DROPPED, Figures

FOLDER: Final = ROOT / "deploy/monitoring"
GUIDE: Final = ROOT / "docs/operators-guide.md"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def alerts() -> list[dict[str, Any]]:
    return [rule for group in read(FOLDER / "alerts.yml")["groups"] for rule in group["rules"]]


def counted() -> set[str]:
    """The names that stand in a node's own answer."""
    metrics = Metrics()
    metrics.refused.labels("stale").inc()
    metrics.closed.labels("slow").inc()
    metrics.page_attempts.labels("push", "taken").inc()
    # What a node counts that holds the bridge as well.
    metrics.registry.register(Figures(list))
    names = re.findall(r"^(leeside_\w+)", metrics.text().decode(), re.MULTILINE)
    return {name for name in names if not name.endswith("_created")}


def test_every_metric_that_an_alert_asks_for_is_counted() -> None:
    asked = {name for rule in alerts() for name in re.findall(r"leeside_\w+", rule["expr"])}
    assert len(asked) >= 8
    assert asked - counted() == set()


def test_every_label_value_is_one_that_a_node_sets() -> None:
    refusals = {code.label for code in WireError}
    closes = {code.label for code in CloseCode}
    for rule in alerts():
        for label, values in re.findall(r"(\w+)!?=~?\"([^\"]*)\"", rule["expr"]):
            known = {
                "error": refusals,
                "code": closes,
                "job": {"leeside"},
                "result": {*Result},
                "why": {*WHY_DROPPED},
            }[label]
            assert set(values.split("|")) <= known, rule["alert"]


def test_every_alert_says_what_is_wrong_and_the_guide_what_to_do() -> None:
    guide = GUIDE.read_text()
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith((".", "}}."))
        assert f"`{rule['alert']}`" in guide, rule["alert"]
    named = set(re.findall(r"`(Leeside[A-Z]\w+)`", guide))
    assert named == {rule["alert"] for rule in alerts()}


def test_prometheus_asks_a_node_where_it_listens() -> None:
    found = read(FOLDER / "prometheus.yml")
    (job,) = found["scrape_configs"]
    (target,) = job["static_configs"]
    assert job["job_name"] == "leeside"
    assert target["targets"] == [f"127.0.0.1:{DEFAULT_PORT}"]
    assert (FOLDER / found["rule_files"][0]).is_file()


def test_prometheus_asks_a_bridge_that_stands_apart_where_it_tells() -> None:
    text = (FOLDER / "prometheus.yml").read_text()
    (job,) = yaml.safe_load(re.sub(r"^( +)#(- |  )", r"\1\2", text, flags=re.MULTILINE))["scrape_configs"]
    node, bridge = job["static_configs"]
    assert bridge["targets"] == [f"127.0.0.1:{STATUS_PORT}"]
    assert node["labels"].keys() == bridge["labels"].keys()
