"""From the standard library's `logging` to where arbiter's records go.

Neighbours: `logs` attaches these to the logger "arbiter.error"; `sinks`, `syslog` and `journal` do the
writing. Its one rule: a record that cannot be written is counted, and the next one that can be is preceded by
the count; nothing is raised into whoever logs.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from arbiter.counted import counted
from arbiter.observe.formats import body, event, fields, message, priority, trouble, who
from arbiter.observe.journal import Journal
from arbiter.observe.sinks import Sink
from arbiter.observe.syslog import Syslog


class Output(Protocol):
    """What counts the records it could not take since the last that it could."""

    dropped: int


class CountingHandler(logging.Handler):
    """A handler whose losses are told."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record on, after a word about those before it that were lost."""
        output = self.output
        lost = output.dropped
        try:
            if lost:
                self.deliver(_lost(lost, record))
                if output.dropped:
                    output.dropped = lost + 1  # the word itself does not count
                    return
            self.deliver(record)
        except Exception:
            output.dropped += 1  # a record that cannot be formatted must not take the caller down

    def deliver(self, record: logging.LogRecord) -> None:
        """Write one record."""
        raise NotImplementedError


def _lost(count: int, then: logging.LogRecord) -> logging.LogRecord:
    text = f"{counted(count, 'record')} before this one could not be written"
    record = logging.LogRecord(then.name, logging.WARNING, "", 0, text, (), None)
    record.__dict__.update(who=who(then), event="log.dropped", fields={"records": count})
    return record


class SinkHandler(CountingHandler):
    """To a file, a pipe, a terminal; the formatter says how."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self.sink = sink

    def deliver(self, record: logging.LogRecord) -> None:
        """Write one record in one piece."""
        self.sink.write(self.format(record) + "\n")


class SyslogHandler(CountingHandler):
    """To a syslog daemon, without the time, which it adds itself."""

    def __init__(self, syslog: Syslog) -> None:
        super().__init__(syslog)
        self.syslog = syslog

    def deliver(self, record: logging.LogRecord) -> None:
        """Send one record."""
        text = self.format(record) if self.formatter else body(record)
        self.syslog.write(record.levelno, text)


class JournalHandler(CountingHandler):
    """To systemd's journal: MESSAGE, PRIORITY, ARBITER_EVENT, ARBITER_PROCESS, and the record's fields as
    ARBITER_*.
    """

    def __init__(self, journal: Journal, identifier: str = "arbiter") -> None:
        super().__init__(journal)
        self.journal = journal
        self.identifier = identifier

    def deliver(self, record: logging.LogRecord) -> None:
        """Send one entry."""
        told = trouble(record)
        text = message(record)
        entry: dict[str, Any] = {
            "MESSAGE": f"{text}\n{told}" if told else text,
            "PRIORITY": priority(record.levelno),
            "SYSLOG_IDENTIFIER": self.identifier,
            "ARBITER_EVENT": event(record) or "message",
            "ARBITER_PROCESS": who(record),
        }
        for name, value in fields(record).items():
            entry.setdefault(f"ARBITER_{name}", value)
        self.journal.write(entry)
