"""How a record of the error log looks: text for people, JSON for machines.

Neighbours: `logs` gives each handler one of these; `journal` and `syslog` have forms of their own. Its one
rule: only a record begins at the beginning of a line. What follows in it is indented or escaped, so that
nothing a peer or an application says can pass for a record.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from arbiter.observe.escape import printable

PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Levels and the priorities of syslog(3) they correspond to; anything lower is 7, debug."""


def priority(level: int) -> int:
    """The priority of syslog(3) for a level of `logging`."""
    return next((number for least, number in PRIORITIES if level >= least), 7)


def who(record: logging.LogRecord) -> str:
    """The name of the process that speaks."""
    return getattr(record, "who", None) or f"pid {record.process}"


def event(record: logging.LogRecord) -> str:
    """The stable name of what happened, "" if the record has none."""
    return str(getattr(record, "event", "") or "")


def fields(record: logging.LogRecord) -> Mapping[str, Any]:
    """The values that belong to it."""
    found = getattr(record, "fields", None)
    return found if isinstance(found, Mapping) else {}


def message(record: logging.LogRecord) -> str:
    """The record's text, its exception not included."""
    return record.getMessage()


_plain: Final = logging.Formatter()


def trouble(record: logging.LogRecord) -> str:
    """The traceback of the record's exception, "" if it has none."""
    if record.exc_info and not record.exc_text:
        record.exc_text = _plain.formatException(record.exc_info)
    return record.exc_text or ""


class TextFormatter(logging.Formatter):
    """`[2026-11-21 12:53:50 +0000] [worker 3 (gen 2, pid 41)] [INFO] message`, further lines indented.

    colour: the level in colour, for a terminal.
    """

    _COLOURS: Final = (
        (logging.CRITICAL, "\x1b[1;31m"),
        (logging.ERROR, "\x1b[31m"),
        (logging.WARNING, "\x1b[33m"),
        (logging.INFO, "\x1b[32m"),
    )

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(record.created))
        return f"[{stamp}] [{who(record)}] [{self._label(record)}] {body(record)}"

    def _label(self, record: logging.LogRecord) -> str:
        stream = fields(record).get("stream")
        if event(record) == "worker.output" and stream:
            return str(stream)
        if not self._colour:
            return record.levelname
        code = next((code for least, code in self._COLOURS if record.levelno >= least), "\x1b[2m")
        return f"{code}{record.levelname}\x1b[0m"


class PrefixFormatter(logging.Formatter):
    """For standard error that leads to the journal: `<4>worker 3 (gen 2, pid 41): message`, each line with
    its priority (sd-daemon(3)); time and level are the journal's own business.

    inner: what makes the lines instead.
    """

    def __init__(self, inner: logging.Formatter | None = None) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        text = self._inner.format(record) if self._inner else f"{who(record)}: {body(record)}"
        mark = f"<{priority(record.levelno)}>"
        return "\n".join(mark + line for line in text.split("\n"))


def body(record: logging.LogRecord) -> str:
    """Message and traceback for people: no control characters, further lines indented."""
    text = message(record)
    told = trouble(record)
    if told:
        text = f"{text}\n{told}"
    return printable(text).replace("\n", "\n  ")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, event, message, process, the record's fields,
    and exception (its traceback) where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        whole: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": event(record) or "message",
            "message": message(record),
            "process": who(record),
        }
        for name, value in fields(record).items():
            whole.setdefault(name, value)
        told = trouble(record)
        if told:
            whole["exception"] = told
        return json.dumps(whole, default=str)


def rfc3339(seconds: float) -> str:
    """A wall-clock time (s since the epoch) as `2026-11-21T12:53:50.123Z`."""
    thousandths = int(seconds * 1000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(thousandths // 1000))
    return f"{stamp}.{thousandths % 1000:03}Z"
