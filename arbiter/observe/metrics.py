"""Metrics as text: the Prometheus format 0.0.4, and OpenMetrics 1.0.

Neighbours: `supervisor.exporter` fills the families in. Its one rule: every family is declared in `FAMILIES`,
and nothing else is ever shown; dashboards, alert rules and docs are checked against that table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name (a counter's without `_total`), type, labels, and what it says."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its samples."""
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
            "info": ("_info",),
        }.get(self.type, ("",))
        return tuple(self.name + suffix for suffix in suffixes)


def _family(name: str, type: str, help: str, *labels: str) -> Family:
    return Family(f"arbiter_{name}", type, help, labels)


_ALL: Final = (
    _family("build", "info", "Versions.", "version", "python"),
    _family("start_time_seconds", "gauge", "When the arbiter started, in Unix time."),
    _family("ready", "gauge", "1 while /readyz says yes."),
    _family("generation", "gauge", "The generation in force; each reload makes the next."),
    _family("workers_wanted", "gauge", "Worker slots that should be filled."),
    _family("workers_needed", "gauge", "Workers that the load asks for; only while their number follows it."),
    _family("workers_max", "gauge", "Workers there can be; only with `workers_max`."),
    _family("workers_pinned", "gauge", "1 while an operator holds their number; only with `workers_max`."),
    _family("workers", "gauge", "Worker processes by state, as in docs/supervision.md.", "state"),
    _family("worker_held", "gauge", "1 while the worker is stopped or traced by somebody.", "slot"),
    _family("worker_beat_age_seconds", "gauge", "How long the worker's loop has not turned.", "slot"),
    _family("requests", "counter", "Requests answered, by class of status.", "slot", "status"),
    _family("request_duration_seconds", "histogram", "How long requests took, all workers together."),
    _family("bad_requests", "counter", "Requests refused before the application was called.", "slot"),
    _family("response_bytes", "counter", "Bytes of answers sent.", "slot"),
    _family("requests_in_flight", "gauge", "Requests in work.", "slot"),
    _family("oldest_request_seconds", "gauge", "Age of the oldest request in work, 0 without one.", "slot"),
    _family("connections_accepted", "counter", "Connections accepted.", "slot"),
    _family("connections", "gauge", "Connections open.", "slot"),
    _family("websockets", "gauge", "WebSockets open.", "slot"),
    _family("loop_lag_seconds", "gauge", "How late the worker's event loop was lately.", "slot"),
    _family("listener_queue", "gauge", "Connections that wait to be accepted.", "listener"),
    _family("listener_queue_limit", "gauge", "Connections that may wait.", "listener"),
    _family("worker_restarts", "counter", "Workers replaced, by cause.", "cause"),
    _family("reloads", "counter", "Reloads by verdict.", "verdict"),
    _family("events", "counter", "What the arbiter said, by name.", "name"),
    _family("worker_uss_bytes", "gauge", "Memory of the worker's own.", "slot"),
    _family("worker_pss_bytes", "gauge", "The worker's share of memory.", "slot"),
    _family("worker_cpu_seconds", "counter", "Processor time.", "slot"),
    _family("master_pss_bytes", "gauge", "The arbiter's own share of memory."),
    _family("master_cpu_seconds", "counter", "The arbiter's own processor time."),
)

FAMILIES: Final[dict[str, Family]] = {family.name: family for family in _ALL}
"""Every family by its name."""


@dataclass
class Reading:
    """Values of one moment. `add` sums up what has the same labels."""

    values: dict[str, dict[tuple[str, ...], float]] = field(default_factory=dict)
    histograms: dict[str, tuple[list[float], list[int], float]] = field(default_factory=dict)
    """Upper bounds, counts per bucket (not cumulative), sum."""

    def add(self, name: str, value: float, *labels: str) -> None:
        """One value of `arbiter_<name>`."""
        family = FAMILIES[f"arbiter_{name}"]
        if len(labels) != len(family.labels):
            raise ValueError(f"{family.name} has the labels {family.labels}")
        samples = self.values.setdefault(family.name, {})
        samples[labels] = samples.get(labels, 0.0) + value

    def histogram(self, name: str, bounds: list[float], counts: list[int], total: float) -> None:
        """All of a histogram. The last bound is infinite."""
        self.histograms[FAMILIES[f"arbiter_{name}"].name] = (bounds, counts, total)


def render(reading: Reading, *, openmetrics: bool = False) -> str:
    """The reading as text in one of the two formats."""
    lines: list[str] = []
    for family in _ALL:
        samples = reading.values.get(family.name)
        histogram = reading.histograms.get(family.name)
        if samples is None and histogram is None:
            continue
        # Prometheus 0.0.4 knows no info, and names a counter as its sample is named.
        name = family.name if openmetrics or family.type == "histogram" else family.samples[0]
        type = "gauge" if family.type == "info" and not openmetrics else family.type
        lines += [f"# HELP {name} {_escape_help(family.help)}", f"# TYPE {name} {type}"]
        if histogram is not None:
            lines += _histogram(family.name, *histogram)
        for labels, value in sorted((samples or {}).items()):
            pairs = dict(zip(family.labels, labels, strict=True))
            lines.append(f"{family.samples[0]}{_labels(pairs)} {_number(value)}")
    if openmetrics:
        lines.append("# EOF")
    return "\n".join([*lines, ""])


def _histogram(name: str, bounds: list[float], counts: list[int], total: float) -> list[str]:
    lines, seen = [], 0
    for bound, count in zip(bounds, counts, strict=True):
        seen += count
        lines.append(f"{name}_bucket{_labels({'le': _number(bound)})} {seen}")
    return [*lines, f"{name}_sum {_number(total)}", f"{name}_count {seen}"]


def _labels(pairs: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs.items())
    return f"{{{inner}}}" if inner else ""


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
