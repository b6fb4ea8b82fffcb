"""The dashboard and the alert rules ask for what is exported, by names and labels that exist."""

from __future__ import annotations

import json
import re

import pytest

from arbiter.observe.metrics import FAMILIES, Family
from arbiter.supervisor.journal import CAUSES
from arbiter.supervisor.states import State
from tests.house.source import ROOT

DASHBOARD = ROOT / "ops" / "grafana-dashboard.json"
ALERTS = ROOT / "ops" / "prometheus-alerts.yml"
SAMPLES: dict[str, Family] = {sample: family for family in FAMILIES.values() for sample in family.samples}
FOREIGN = {"instance", "job", "le"}
"""Labels that Prometheus adds, or that a histogram has."""
VALUES = {
    "state": {state.value for state in State},
    "cause": {*CAUSES, "died", "stuck", "killed", "boot_failed", "other"},
    "verdict": {"done", "failed", "refused", "superseded"},
    "status": {"1xx", "2xx", "3xx", "4xx", "5xx"},
}


def expressions() -> list[str]:
    """Every expression of the dashboard and of the rules."""
    found: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            found.extend(node[key] for key in ("expr", "query") if isinstance(node.get(key), str))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(json.loads(DASHBOARD.read_text()))
    text = ALERTS.read_text()
    found += re.findall(r"^ +expr: (?!\|)(.+)$", text, re.MULTILINE)
    found += re.findall(r"^ +expr: \|\n((?: {10}.*\n)+)", text, re.MULTILINE)
    return [expression for expression in found if "arbiter" in expression]


def test_there_is_something_to_check() -> None:
    assert len(expressions()) >= 25
    assert ALERTS.read_text().count("- alert:") == len(
        re.findall(r"^ +expr:", ALERTS.read_text(), re.MULTILINE)
    )


@pytest.mark.parametrize("expression", expressions())
def test_every_name_and_label_exists(expression: str) -> None:
    names = re.findall(r"\barbiter_\w+", expression)
    for name in names:
        assert name in SAMPLES, f"{name} is not exported"
    labels = {label for name in names for label in SAMPLES[name].labels} | FOREIGN
    for selector in re.findall(r"\{([^}]*)\}", expression):
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selector):
            assert label in labels, f"{label} is no label of {names}"
            assert set(value.split("|")) <= VALUES.get(label, {value}), f"{label} never is {value}"
    for grouped in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= labels


def test_the_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    ids = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        ids.add(panel["id"])
    assert len(ids) == len(json.loads(DASHBOARD.read_text())["panels"])


def test_what_alerts_say_names_labels_that_are_there() -> None:
    for rule in ALERTS.read_text().split("- alert:")[1:]:
        names = re.findall(r"\barbiter_\w+", rule)
        labels = {label for name in names if name in SAMPLES for label in SAMPLES[name].labels} | FOREIGN
        assert set(re.findall(r"\$labels\.(\w+)", rule)) <= labels, rule
