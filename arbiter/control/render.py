"""Answers in words: what `arbiterctl` prints for people.

Neighbours: `supervisor.answers` says what the objects hold; `cli.ctl` and `cli.top` print the lines. Its one
rule: pure, and everything that came from a client or an application is stripped of control characters.
"""

from __future__ import annotations

import logging
import re
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from arbiter.counted import counted

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """One line that cannot move a terminal's cursor."""
    return _UNPRINTABLE.sub("?", text)


def clean_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(clean(line) for line in text.splitlines())


def clip(text: str, columns: int) -> str:
    """As much of a line as fits; wide characters (east asian) take two columns."""
    if text.isascii():
        return text[:columns]
    used = 0
    for index, letter in enumerate(text):
        if not unicodedata.combining(letter):
            used += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if used > columns:
            return text[:index]
    return text


def duration(seconds: float | None) -> str:
    """ "0.4ms", "12ms", "1.2s", "3m12s", "3h12m", "4d03h"; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def count(number: float) -> str:
    """ "999", "12.3k", "4.5M"."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / (1e3 if unit == 'k' else limit):.1f}{unit}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes as "812K", "35M", "1.2G"; "-" for what is not known."""
    if number <= 0:
        return "-"
    for factor, unit in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if number >= factor:
            value = number / factor
            return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"
    return f"{number:.0f}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the workers' table."""

    title: str
    width: int
    key: str
    """What it is sorted by."""


COLUMNS: Final = (
    Column("#", 3, "slot"),
    Column("PID", 7, "pid"),
    Column("GEN", 3, "generation"),
    Column("STATE", 8, "state"),
    Column("UP", 6, "uptime"),
    Column("REQS", 6, "requests"),
    Column("RATE", 6, "rate"),
    Column("ACT", 3, "in_flight"),
    Column("P50", 5, "p50"),
    Column("P99", 5, "p99"),
    Column("5XX", 4, "errors"),
    Column("CPU%", 4, "cpu"),
    Column("USS", 4, "uss"),
)
"""76 columns, so that the table fits a terminal of 80."""


def headings(sort: str = "", descending: bool = False) -> str:
    """The line above the workers; the column they are sorted by is marked."""
    cells = []
    for column in COLUMNS:
        mark = ("v" if descending else "^") if column.key == sort else ""
        title = f"{column.title}{mark}"[: column.width]
        cells.append(title.ljust(column.width) if column.key == "state" else title.rjust(column.width))
    return " ".join(cells)


def worker_line(worker: dict[str, Any]) -> str:
    """One worker in the table's columns."""
    cells = {
        "slot": str(worker["slot"]),
        "pid": str(worker["pid"]),
        "generation": str(worker["generation"]),
        "state": worker["state"],
    }
    if "requests" in worker:
        cells |= {
            "uptime": duration(worker["uptime"]),
            "requests": count(worker["requests"]),
            "rate": f"{worker['rate']:.1f}" if worker["rate"] < 1000 else count(worker["rate"]),
            "in_flight": count(worker["in_flight"]),
            "p50": duration(worker["p50"]),
            "p99": duration(worker["p99"]),
            "errors": count(worker["errors"]),
            "cpu": f"{worker['cpu'] * 100:.0f}",
            "uss": size(worker["uss"]),
        }
    line = []
    for column in COLUMNS:
        text = cells.get(column.key, "-")[: column.width]
        line.append(text.ljust(column.width) if column.key == "state" else text.rjust(column.width))
    return " ".join(line)


def worker_notes(worker: dict[str, Any]) -> list[str]:
    """What else is to be said of a worker: its oldest request, and why it is not as it should be."""
    notes = []
    if worker.get("request"):
        notes.append(f"{duration(worker['request_age'])} at {clean(worker['request'])}")
    if worker["note"]:
        notes.append(clean(worker["note"]))
    return notes


def summary(status: dict[str, Any], now: float) -> list[str]:
    """The lines above the table: the arbiter, its listeners, the last reload."""
    arbiter = status["arbiter"]
    workers = status["workers"]
    rate = sum(worker.get("rate", 0.0) for worker in workers)
    ready = "ready" if arbiter["ready"] else f"NOT READY: {clean(arbiter['not_ready_because'])}"
    scaling = arbiter.get("scaling", {"mode": "fixed"})  # an arbiter of an older version may answer
    follows = ""
    if scaling["mode"] != "fixed":
        held = "held, else " if scaling["mode"] == "pinned" else ""
        follows = f" ({held}{scaling['least']} to {scaling['most']} by load)"
    wanted = counted(arbiter["wanted"], "worker serves", "workers serve")
    lines = [
        f"{clean(arbiter['name'])} (pid {arbiter['pid']}), arbiter {clean(arbiter['version'])}, "
        f"up {duration(arbiter['uptime'])}",
        f"{ready}; {arbiter['serving']} of {wanted}{follows}, "
        f"generation {arbiter['generation']}, {rate:.1f} requests/s",
    ]
    for listener in status["listeners"]:
        queue = "" if listener["queue"] is None else f", {listener['queue']} of {listener['limit']} wait"
        lines.append(f"{clean(listener['url'])}{queue}")
    reload = status["reload"]
    if reload is not None:
        ago = f" {duration(max(0.0, now - reload['time']))} ago" if reload["time"] else ""
        lines.append(f"last reload: {reload['verdict']}{ago} (generation {reload['generation']})")
        if reload["verdict"] in ("failed", "refused"):
            lines += [f"  {line}" for line in clean_lines(reload["text"]).splitlines()[:3]]
    if arbiter["waits"]:
        lines.append(f"the next worker starts in {duration(arbiter['waits'])}: earlier ones failed")
    return lines


def status_lines(status: dict[str, Any], now: float) -> Iterator[str]:
    """`arbiterctl status`. `now` is wall clock (s)."""
    yield from summary(status, now)
    yield from map(mold_line, status.get("molds", ()))
    yield ""
    yield headings()
    for worker in status["workers"]:
        yield worker_line(worker)
        for note in worker_notes(worker):
            yield f"    {note}"


def mold_line(mold: dict[str, Any]) -> str:
    """One mold, and what it is good for."""
    line = (
        f"mold {mold['pid']} (gen {mold['generation']}) {mold['state']}, up {duration(mold['uptime'])}, "
        f"{size(mold['uss'])} of its own"
    )
    if not mold["occupied"]:
        return line
    workers = counted(mold["workers"], "worker shares", "workers share")
    return f"{line}; {workers} {size(mold['shared'])} of {size(mold['occupied'])}"


def happening_line(event: dict[str, Any]) -> str:
    """One event: time, level, name, and its text, further lines indented."""
    stamp = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    level = logging.getLevelName(event["level"]).lower()
    first, *rest = clean_lines(event["text"]).splitlines() or [""]
    return "\n".join([f"{stamp} {level:<8} {event['name']:<18} {first}", *(f"    {line}" for line in rest)])


def show_lines(answer: dict[str, Any]) -> Iterator[str]:
    """`arbiterctl show`."""
    worker = answer["worker"]
    yield (
        f"worker {worker['slot']} (gen {worker['generation']}, pid {worker['pid']}), "
        f"{worker['kind'] or 'not ready yet'}, {worker['state']} for {duration(worker['since'])}"
    )
    if worker["note"]:
        yield clean(worker["note"])
    if "requests" in worker:
        yield from _pairs(worker)
    yield ""
    count = len(answer["requests"])
    yield f"{count or 'no'} {'requests' if count > 1 else 'request'} in work"
    for request in answer["requests"]:
        yield f"  {duration(request['age']):>7}  {clean(request['text'])}"
    if answer["events"]:
        yield ""
        yield from (happening_line(event) for event in answer["events"])


def _pairs(worker: dict[str, Any]) -> Iterator[str]:
    rows: Sequence[tuple[str, str]] = (
        ("up", duration(worker["uptime"])),
        ("requests", f"{worker['requests']} ({worker['rate']:.1f}/s), {worker['errors']} of them 5xx"),
        ("refused by the parser", str(worker["bad_requests"])),
        ("duration", f"p50 {duration(worker['p50'])}, p99 {duration(worker['p99'])}"),
        (
            "connections",
            f"{worker['connections']} open, {worker['accepted']} accepted, {worker['websockets']} WebSockets",
        ),
        ("sent", f"{size(worker['bytes_out'])}B" if worker["bytes_out"] else "nothing"),
        ("processor", f"{worker['cpu'] * 100:.0f} %"),
        (
            "memory",
            f"{size(worker['uss'])} its own, {size(worker['pss'])} its share, {size(worker['rss'])} in all",
        ),
        ("loop", f"turned {duration(worker['beat_age'])} ago, late by {duration(worker['loop_lag'])}"),
    )
    for name, value in rows:
        yield f"  {name:<22} {value}"


def generation_lines(answer: dict[str, Any]) -> Iterator[str]:
    """The answer of `generations`."""
    for one in answer["generations"]:
        workers = counted(one["workers"], "worker")
        if one["mold"]:
            mold = f"mold {one['mold']} {one['mold_state']}, {size(one['mold_uss'])} of its own"
        else:
            mold = "no mold: each worker loads the application" if one["mold_state"] == "none" else "no mold"
        kept = f" for {duration(one['kept_for'])} more" if one["kept_for"] is not None else ""
        yield f"generation {one['generation']}: {one['part']}{kept}, {workers}, {mold}"


def slow_lines(answer: dict[str, Any]) -> Iterator[str]:
    """`arbiterctl slow`."""
    if not answer["slow"]:
        yield "nothing was slow (slow_request and timeout say what is)"
    for number, record in enumerate(answer["slow"]):
        if number:
            yield ""
        yield happening_line(record)
        yield from (f"    {line}" for line in clean_lines(record["stacks"]).splitlines())


def config_lines(answer: dict[str, Any]) -> Iterator[str]:
    """`arbiterctl config`."""
    for setting in answer["settings"]:
        yield f"{setting['name']:<26} = {clean(setting['value']):<24} # {clean(setting['origin'])}"
