"""The access log: one line per exchange, in gunicorn's format language or as JSON.

Neighbours: a dispatcher calls a function of `AccessLog` when an answer is complete (or cut); `lines` makes
that function, `writer` keeps what it is told until lines are made of it, some at a time. Its one rule: a
request never waits for its line, and nothing a peer sent can end a line or leave its quotes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from arbiter.counted import counted
from arbiter.observe import atoms
from arbiter.observe.atoms import ATOMS, DEFAULT, JSON, Headers, check_format
from arbiter.observe.lines import PARTS, Choice, Clock, Shape, Source, apache, teller
from arbiter.observe.logs import Log, Logs
from arbiter.observe.writer import BATCH, Writer
from arbiter.protocols.events import Request

__all__ = ["ATOMS", "AccessLog", "Choice", "Exchange", "Records", "Shape", "check_format", "open_access_log"]

CLOSING: Final = 2.0
"""Seconds a worker that ends waits for its last lines to be written."""
LAST_WORDS: Final = 0.3
"""Seconds one that is being killed does."""


class Exchange(NamedTuple):
    """One request and what became of it: what `AccessLog.write` is given, in its order.

    peer: the client's address, None on a unix socket. status: 0 when no answer was begun. sent: bytes of the
    answer's body. started, ended: time.monotonic_ns(). environ: the WSGI environ, None under ASGI. aborted:
    why it was cut short, "" when it was not.
    """

    request: Request
    peer: str | None
    scheme: str
    status: int
    sent: int
    started: int
    ended: int
    headers: Headers = ()
    environ: Mapping[str, Any] | None = None
    aborted: str = ""


MUTABLE: Final = frozenset({"headers", "environ"})
"""What belongs to the application, which may change it: a line that needs it is made at once."""
EVERYTHING: Final = Choice()
NOTHING_ELSE: Final[Mapping[str, Any]] = MappingProxyType({})


class AccessLog:
    """A compiled log and where its lines go.

    `write(*exchange)` is a compiled function itself, kept as an attribute so that a call costs one call.
    format: of gunicorn's language, or "json"; context: members of every JSON line; request_id: the field that
    has a request's id, "" for none.
    """

    __slots__ = ("_choice", "_failed", "_later", "_lines", "_parts", "_writer", "format", "write")

    def __init__(
        self,
        format: str,
        writer: Writer | Records | Callable[[str], object],
        *,
        choice: Choice = EVERYTHING,
        context: Mapping[str, Any] = NOTHING_ELSE,
        request_id: str = "",
        failed: Callable[[], None] | None = None,
    ) -> None:
        """`writer` may also be a function that takes a line with its end.

        Raise ValueError as `check_format` says.
        """
        self.format = format
        self._writer = writer
        self._choice = choice
        self._failed = failed
        source = Source()
        if format == JSON:
            source.add_json(context, request_id)
        else:
            source.add_text(atoms.pieces(format))
        self._parts = source.parts()
        self._lines = source.compile(failed)
        self._later = isinstance(writer, Writer) and MUTABLE.isdisjoint(self._parts)
        if isinstance(writer, Writer) and self._later:
            writer.make = self._lines
        self.write = self.shaped(Shape())

    def shaped(self, shape: Shape) -> Callable[..., None]:
        """A `write` that is called in another way: a dispatcher's own, with what it has at hand."""
        writer, some = self._writer, shape.some(self._parts)
        if not isinstance(writer, Writer):
            more = f", {shape.some(PARTS)}" if isinstance(writer, Records) else ""
            body = [f"for line in lines([{some}]): put(line{more})"]
            return teller(shape, self._choice, body, self._failed, lines=self._lines, put=writer)
        kept = writer.lines
        put = f"keep({some})" if self._later else f"kept.extend(lines([{some}]))"
        body = [put, f"if len(kept) >= {BATCH}: seal()", "if writer.idle: writer.wake()"]
        names = {"lines": self._lines, "kept": kept, "keep": kept.append, "seal": writer.seal}
        return teller(shape, self._choice, body, self._failed, writer=writer, **names)

    def run_after_flush(self, errand: Callable[[], None]) -> None:
        """Do something (reopen the file) when the lines that are here now are written; does not wait."""
        if isinstance(self._writer, Writer):
            self._writer.run_after_flush(errand)
        else:
            errand()

    def flush(self, timeout: float = LAST_WORDS) -> None:
        """Write what is here now; wait at most `timeout` seconds."""
        if isinstance(self._writer, Writer):
            self._writer.flush(timeout)

    def close(self, timeout: float = CLOSING) -> int:
        """Write what is left, end the thread; the number of lines that could not be written."""
        return self._writer.close(timeout) if isinstance(self._writer, Writer) else 0


class AccessSettings(Protocol):
    """The settings read here."""

    log_format: str
    access_log_format: str
    access_log_exclude: tuple[str, ...]
    access_log_sample: int
    access_log_buffer: int
    request_id_header: str | None


def open_access_log(settings: AccessSettings, logs: Logs, log: Log) -> AccessLog | None:
    """A worker's access log as the settings want it, None when they want none."""
    choice = Choice(settings.access_log_exclude, settings.access_log_sample)
    how: dict[str, Any] = {
        "choice": choice,
        "context": log.context,
        "request_id": settings.request_id_header or "",
        "failed": partial(_complain, log),
    }
    format = settings.access_log_format
    if format == DEFAULT and settings.log_format == "json":
        format = JSON
    logger = logs.access_logger()
    if logger is not None:
        return AccessLog(format, Records(logger, format, log), **how)
    targets = logs.access_targets()
    if not targets:
        return None

    return AccessLog(format, Writer(targets, settings.access_log_buffer, News(log)), **how)


def _complain(log: Log) -> None:
    """What an operator's handler of the log raises is not the access log's end."""
    with contextlib.suppress(Exception):
        log.exception("a line of the access log could not be made", event="accesslog.failed")


class News:
    """What a `Writer` tells, for the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._blocked = False

    def __call__(self, problem: str, lost: int) -> None:
        before, self._blocked = self._blocked, bool(problem)
        with contextlib.suppress(Exception):  # see `_complain`
            if problem:
                text = "the access log cannot be written: %s; its lines are kept, then dropped"
                self._log.error(text, problem, event="accesslog.blocked", fields={"problem": problem})
                return
            state = "is written again" if before else "is written too slowly"
            dropped = counted(lost, "line was dropped", "lines were dropped")
            self._log.warning(
                "the access log %s; %s", state, dropped, event="accesslog.dropped", fields={"lines": lost}
            )


# ---- the operator's own handlers


class Records:
    """Exchanges as records of the logger "arbiter.access", for handlers that `logconfig` gave it.

    As with gunicorn the record's arguments are all the atoms, by name, so a formatter may use any of them.
    They are computed when asked for.
    """

    def __init__(self, logger: logging.Logger, format: str, log: Log) -> None:
        self._logger = logger
        self._log = log
        self._format = format if format != JSON else ""

    def __call__(self, line: str, parts: tuple[Any, ...]) -> None:
        if not self._logger.isEnabledFor(logging.INFO):
            return
        message = self._format or line[:-1].replace("%", "%%")
        extra = {"who": self._log.who, "event": "request", "fields": self._log.context}
        args = (_Atoms(parts),)
        record = self._logger.makeRecord(
            self._logger.name, logging.INFO, "", 0, message, args, None, extra=extra
        )
        self._logger.handle(record)


class _Atoms(Mapping[str, Any]):
    """The atoms of one exchange."""

    _compiled: Final[dict[str, Any]] = {}
    _names: Final = atoms.names()
    _clock: Final = Clock(apache)

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self._parts = Exchange(*parts)

    def __getitem__(self, atom: str) -> Any:
        code = self._compiled.get(atom)
        if code is None:
            try:
                source = atoms.expression(atom, "s")
            except ValueError as error:
                raise KeyError(atom) from error
            code = self._compiled[atom] = compile(source, "<access log atom>", "eval")
        x = self._parts
        names = {
            **x._asdict(),
            "get": dict(field.pair for field in x.request.fields).get,
            "date": self._clock.turn(x.started)[2],
        }
        return eval(code, self._names, names)

    def __iter__(self) -> Any:
        return iter(ATOMS)

    def __len__(self) -> int:
        return len(ATOMS)
