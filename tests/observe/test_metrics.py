"""The text of metrics is what Prometheus' own parsers read, in both formats."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.observe.metrics import FAMILIES, Family, Reading, render

parser = pytest.importorskip("prometheus_client.parser")
openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser")

labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def reading(values: dict[str, float], texts: list[str]) -> Reading:
    """A value in every family, with labels of any text."""
    made = Reading()
    for name, family in FAMILIES.items():
        if family.type == "histogram":
            made.histogram(name.removeprefix("arbiter_"), [0.1, 1.0, math.inf], [1, 0, 2], 3.5)
        else:
            given = [texts[place % len(texts)] for place in range(len(family.labels))]
            made.add(name.removeprefix("arbiter_"), values.get(family.type, 1), *given)
    return made


@given(st.floats(0, 1e18), st.lists(labels, min_size=1, max_size=3))
def test_both_parsers_read_it_back(value: float, texts: list[str]) -> None:
    made = reading({"gauge": value, "counter": value}, texts)
    plain = list(parser.text_string_to_metric_families(render(made)))
    open_ = list(openmetrics.text_string_to_metric_families(render(made, openmetrics=True)))
    for found in (plain, open_):
        samples = {sample.name: sample for family in found for sample in family.samples}
        assert set(samples) == {name for family in FAMILIES.values() for name in family.samples}
        assert samples["arbiter_ready"].value == value
        assert samples["arbiter_workers"].labels == {"state": texts[0]}
        assert samples["arbiter_request_duration_seconds_count"].value == 3


def test_buckets_are_cumulative_and_end_in_infinity() -> None:
    made = Reading()
    made.histogram("request_duration_seconds", [0.1, 1.0, math.inf], [1, 0, 2], 3.5)
    lines = render(made).splitlines()
    assert [line.split()[-1] for line in lines if "_bucket" in line] == ["1", "1", "3"]
    assert 'le="+Inf"' in render(made)


def test_what_has_the_same_labels_is_summed() -> None:
    made = Reading()
    for value in (1, 2.5):
        made.add("requests", value, "1", "2xx")
    assert 'arbiter_requests_total{slot="1",status="2xx"} 3.5' in render(made)


def test_only_what_is_declared_can_be_shown() -> None:
    with pytest.raises(KeyError):
        Reading().add("invented", 1)
    with pytest.raises(ValueError, match="labels"):
        Reading().add("requests", 1, "1")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_names_follow_the_rules(family: Family) -> None:
    """https://prometheus.io/docs/practices/naming/"""
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info"))
    assert family.help.endswith(".")
    assert not set(family.labels) & {"le", "quantile", "instance", "job"}
