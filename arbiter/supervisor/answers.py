"""What the looking words answer: status, show, slow, events, config, version. Plain objects, for JSON.

Neighbours: `plane` sends them, `control.render` puts them into words. Its one rule: an answer is made of what
the arbiter knows and the kernel says; no worker is asked, so all of them may hang. Times are seconds, sizes
bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from arbiter.config.table import BY_NAME
from arbiter.control.session import Fault, FaultKind
from arbiter.link.scoreboard import Row, Word
from arbiter.supervisor.book import FOREVER, Child, Mold
from arbiter.supervisor.health import IDLE_BEAT
from arbiter.supervisor.ledger import Living
from arbiter.supervisor.listeners import Listener
from arbiter.supervisor.queues import queue_of
from arbiter.supervisor.states import SERVING
from arbiter.supervisor.view import View
from arbiter.version import PYTHON, __version__


def version() -> dict[str, Any]:
    """The versions of arbiter and Python."""
    return {"version": __version__, "python": PYTHON}


def ping(view: View) -> dict[str, Any]:
    """Who answers."""
    return {"pid": view.pid, "name": view.current().config.proc_name, **version()}


def status(view: View, now: float) -> dict[str, Any]:
    """The arbiter, its workers and molds, its listeners, the last reload."""
    sizes = view.sizes(now)
    ordered = sorted(view.book.children.values(), key=lambda child: (child.slot, child.key))
    return {
        "arbiter": arbiter(view, now),
        "workers": [worker(view, child, sizes.get(child.key, {}), now) for child in ordered],
        "molds": [mold(view, one, sizes, now) for one in view.book.molds.values()],
        "listeners": [listener(one) for one in view.current().listeners],
        "reload": last_reload(view),
    }


def arbiter(view: View, now: float) -> dict[str, Any]:
    """The arbiter itself."""
    book = view.book
    serving, why = view.readiness()
    own = view.measure(os.getpid())
    return {
        **ping(view),
        "uptime": now - view.started,
        "phase": "stopping soon" if book.leave_at != FOREVER else book.phase.value,
        "ready": not why,
        "not_ready_because": why,
        "serving": serving,
        "wanted": len(book.slots),
        "scaling": scaling(view),
        "generation": book.generation,
        "rolling_out": book.rollout.generation if book.rollout else None,
        "paused": book.paused,
        "drained": book.withheld,
        "pss": own.get("pss", 0) * 1024,
        "waits": max(0.0, book.backoff.until - now) if book.backoff.until else 0.0,
    }


def scaling(view: View) -> dict[str, Any]:
    """Whether the number of workers follows the load ("auto"), is held ("pinned") or does neither ("fixed"),
    and its bounds; `needed`: workers that the load asks for, 0 if nobody looks.
    """
    book = view.book
    mode = "fixed"
    if book.rules.most:
        mode = "pinned" if book.pinned else "auto"
    least, most = book.bounds
    return {"mode": mode, "least": least, "most": most, "needed": view.needed}


def worker(view: View, child: Child, size: dict[str, int], now: float) -> dict[str, Any]:
    """One worker process."""
    answer: dict[str, Any] = {
        "slot": child.slot,
        "pid": child.pid,
        "key": child.key,
        "generation": child.generation,
        "state": child.state.value,
        "since": now - child.since,
        "kind": child.kind,
        "note": _note(view, child, now),
        "uss": size.get("uss", 0) * 1024,
        "pss": size.get("pss", 0) * 1024,
        "rss": size.get("rss", 0) * 1024,
    }
    row = view.row(child.key)
    if row is not None:
        answer |= _counts(row, now)
        lately = view.ledger.lately(Living(child.key, child.slot, child.pid, row), now)
        answer |= {
            "rate": lately.rate,
            "error_rate": lately.errors,
            "cpu": lately.cpu,
            "p50": lately.p50,
            "p99": lately.p99,
        }
    return answer


def mold(view: View, one: Mold, sizes: Mapping[int, dict[str, int]], now: float) -> dict[str, Any]:
    """One mold: its memory, and of the workers it has forked how many serve and what each of them shares of
    what it occupies, on the average, as far as they were measured (bytes).
    """
    size = sizes.get(one.key, {})
    workers = [child.key for child in view.book.serving() if child.mold == one.key]
    measured = [found for key in workers if (found := sizes.get(key))]
    count = max(1, len(measured))
    return {
        "pid": one.pid,
        "generation": one.generation,
        "state": one.state.value,
        "uptime": now - one.since,
        "uss": size.get("uss", 0) * 1024,
        "pss": size.get("pss", 0) * 1024,
        "rss": size.get("rss", 0) * 1024,
        "workers": len(workers),
        "shared": sum(found["rss"] - found["uss"] for found in measured) * 1024 // count,
        "occupied": sum(found["rss"] for found in measured) * 1024 // count,
    }


def _counts(row: Row, now: float) -> dict[str, Any]:
    lanes = row.lanes()
    return {
        "uptime": now - row[Word.STARTED_NS] / 1e9,
        "requests": row[Word.REQUESTS],
        "errors": row[Word.STATUS_5XX],
        "bad_requests": row[Word.BAD_REQUESTS],
        "in_flight": row.in_flight,
        "connections": row[Word.CONNECTIONS],
        "accepted": row[Word.ACCEPTED],
        "websockets": row[Word.WEBSOCKETS],
        "bytes_out": row[Word.BYTES_OUT],
        "loop_lag": row[Word.LOOP_LAG_NS] / 1e9,
        "beat_age": now - row[Word.BEAT_NS] / 1e9,
        "request": lanes[0].text if lanes else "",
        "request_age": max(0.0, now - lanes[0].since_ns / 1e9) if lanes else 0.0,
    }


def _note(view: View, child: Child, now: float) -> str:
    """What an operator should know of it beyond its state."""
    notes = []
    held = view.held(child.pid)
    if held:
        notes.append(held)
    row = view.row(child.key)
    if row is not None and child.state in SERVING:
        silent = now - row[Word.BEAT_NS] / 1e9
        at_work = child.kind == "sync" and row.in_flight
        if silent > 2 * IDLE_BEAT and not at_work:
            notes.append(f"its loop has not turned for {silent:.0f} s")
    if child.state.value == "booting":
        notes.append(f"step: {child.step}")
    if child.soaking:
        notes.append("soaking")
    if child.reason:
        notes.append(child.reason)
    return "; ".join(notes)


def listener(one: Listener) -> dict[str, Any]:
    """One listening socket and the connections that wait in it; None where the kernel does not say."""
    queue = None if one.socket.fileno() < 0 else queue_of(one.socket)
    return {
        "url": one.url if one.socket.fileno() >= 0 else str(one.address),
        "queue": queue.length if queue else None,
        "limit": queue.limit if queue else None,
    }


def last_reload(view: View) -> dict[str, Any] | None:
    """The last reload and its verdict, None if there was none."""
    if view.book.loading:
        return {
            "verdict": "reading the configuration",
            "generation": view.book.newest,
            "time": None,
            "text": "",
        }
    for happening in reversed(view.journal.recent()):
        kind, _, verdict = happening.name.partition(".")
        if kind in ("reload", "rollback") and verdict not in ("asked", "over"):
            word = {"starting": "rolling out", "reading": "reading the configuration"}.get(verdict, verdict)
            generation = happening.fields.get("generation")
            return {
                "verdict": word,
                "generation": generation,
                "time": happening.time,
                "text": happening.text,
            }
    return None


def generations(view: View, now: float) -> dict[str, Any]:
    """Each generation there is: its part, its mold, its workers, and for how long it is kept (s)."""
    book = view.book
    rollout = book.rollout.generation if book.rollout else None
    kept = book.kept
    numbers = {book.generation, *(child.generation for child in book.children.values())}
    numbers |= {number for number in (rollout, kept.generation if kept else None) if number}
    found = []
    for number in sorted(numbers):
        part = "in force" if number == book.generation else "going"
        if kept and number == kept.generation:
            part = "kept"
        if number == rollout:
            part = "rolling out"
        molds = book.molds_of(number)
        memory = view.measure(molds[0].pid) if molds and molds[0].pid else {}
        found.append(
            {
                "generation": number,
                "part": part,
                "workers": sum(1 for child in book.serving() if child.generation == number),
                "mold": molds[0].pid if molds else None,
                "mold_state": molds[0].state.value
                if molds
                else ("none" if number in book.direct else "gone"),
                "mold_uss": memory.get("uss", 0) * 1024,
                "kept_for": max(0.0, kept.until - now) if kept and number == kept.generation else None,
            }
        )
    return {"generations": found}


def show(view: View, child: Child, now: float) -> dict[str, Any]:
    """One worker, every request in it, and what was said of it."""
    row = view.row(child.key)
    requests = [
        {"text": lane.text, "age": max(0.0, now - lane.since_ns / 1e9)}
        for lane in (row.lanes() if row else [])
    ]
    said = [
        happening.plain()
        for happening in view.journal.recent()
        if happening.fields.get("pid") == child.pid or f"pid {child.pid})" in happening.text
    ]
    size = view.measure(child.pid) if child.pid else {}
    return {"worker": worker(view, child, size, now), "requests": requests, "events": said[-20:]}


def config(view: View, name: str | None) -> dict[str, Any]:
    """The settings in force with their origins, or one of them. Raises `Fault` for a name that is none."""
    if name is not None and name not in BY_NAME:
        raise Fault(FaultKind.REFUSED, f"there is no setting {name!r}")
    wanted = BY_NAME[name].name if name is not None else None
    return {
        "settings": [
            {"name": key, "value": entry.show(), "origin": entry.origin}
            for key, entry in view.current().config.items()
            if wanted in (None, key)
        ]
    }
