"""The access log: one line per exchange, in gunicorn's format language or as JSON.

Neighbours: a dispatcher calls `AccessLog.write` when an answer is complete (or cut); `atoms` has the format
language, `writer` takes the lines. Its one rule: a log is compiled once, into one function that reads only
what its lines need; nothing a peer sent can end a line or leave its quotes, and a request never waits for it.
"""

from __future__ import annotations

import ast
import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from arbiter.observe import atoms
from arbiter.observe.atoms import ATOMS, DEFAULT, JSON, Headers, check_format
from arbiter.observe.escape import Memo, json_member, json_text
from arbiter.observe.logs import Log, Logs
from arbiter.observe.trace import trace
from arbiter.observe.writer import BATCH, Writer
from arbiter.protocols.events import Request

__all__ = ["ATOMS", "AccessLog", "Exchange", "check_format", "open_access_log"]

CLOSING: Final = 2.0
"""Seconds a worker that ends waits for its last lines to be written."""
LAST_WORDS: Final = 0.3
"""Seconds one that is being killed does."""

_SECOND: Final = 1_000_000_000
_PARTS: Final = "request, peer, scheme, status, sent, started, ended, headers, environ, aborted"


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


class Choice(NamedTuple):
    """Which requests are logged: `exclude` paths ("/healthz", "/static/*") are not, and of the others one in
    `sample`; what failed (5xx, cut short) always is.
    """

    exclude: Sequence[str] = ()
    sample: int = 1


EVERYTHING: Final = Choice()
NOTHING_ELSE: Final[Mapping[str, Any]] = MappingProxyType({})


class AccessLog:
    """A compiled log and where its lines go.

    `write(*exchange)` is the compiled function itself, kept as an attribute so that a call costs one call.
    format: of gunicorn's language, or "json"; context: members of every JSON line; request_id: the field that
    has a request's id, "" for none.
    """

    __slots__ = ("_writer", "format", "write")

    def __init__(
        self,
        format: str,
        writer: Writer | Records | Callable[[str], object],
        *,
        choice: Choice = EVERYTHING,
        context: Mapping[str, Any] = NOTHING_ELSE,
        request_id: str = "",
    ) -> None:
        """`writer` may also be a function that takes a line with its end.

        Raise ValueError as `check_format` says.
        """
        self.format = format
        self._writer = writer if isinstance(writer, Writer) else None
        source = _Source(choice)
        if format == JSON:
            source.add_json(context, request_id)
        else:
            source.add_text(atoms.pieces(format))
        self.write: Callable[..., None] = source.compile(writer)

    def run_after_flush(self, errand: Callable[[], None]) -> None:
        """Do something (reopen the file) when the lines that are here now are written; does not wait."""
        if self._writer is not None:
            self._writer.run_after_flush(errand)
        else:
            errand()

    def flush(self, timeout: float = LAST_WORDS) -> None:
        """Write what is here now; wait at most `timeout` seconds."""
        if self._writer is not None:
            self._writer.flush(timeout)

    def close(self, timeout: float = CLOSING) -> int:
        """Write what is left, end the thread; the number of lines that could not be written."""
        return self._writer.close(timeout) if self._writer is not None else 0


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

    def told(problem: str, lost: int) -> None:
        if problem:
            text = "the access log cannot be written: %s; its lines are kept, then dropped"
            log.error(text, problem, event="accesslog.blocked", fields={"problem": problem})
        else:
            text = "the access log is written again; %d lines were dropped"
            log.warning(text, lost, event="accesslog.dropped", fields={"lines": lost})

    return AccessLog(format, Writer(targets, settings.access_log_buffer, told), **how)


# ---- making the function


class _Source:
    """The source text of a `write`, as it grows.

    It is assembled from this package's own expressions; all that comes from the operator goes in as literals
    made by repr().
    """

    def __init__(self, choice: Choice) -> None:
        self._lines = [f"def write({_PARTS}):"]
        self._names: dict[str, Any] = atoms.names()
        self._template = ""
        self._count = 0
        self._found: dict[str, str] = {}
        self._choose(choice)

    def _line(self, text: str) -> None:
        self._lines.append(f"    {text}")

    def _choose(self, choice: Choice) -> None:
        exact = frozenset(path.encode() for path in choice.exclude if not path.endswith("*"))
        under = tuple(path[:-1].encode() for path in choice.exclude if path.endswith("*"))
        if exact:
            self._names["excluded"] = exact
            self._line("if request.path in excluded: return")
        if under:
            self._names["under"] = under
            self._line("if request.path.startswith(under): return")
        if choice.sample > 1:
            self._names.update(random=random.random, share=1.0 / choice.sample)
            self._line("if status < 500 and not aborted and random() >= share: return")

    def _date(self, clock: _Clock) -> None:
        self._names["clock"] = clock
        self._line("since, until, date = clock.span")
        self._line("if not since <= started < until: since, until, date = clock.turn(started)")

    def _fields(self, expressions: Iterable[str]) -> None:
        """Find all request fields that are asked for in one go; `_value` knows them as f0, f1 ..."""
        wanted = dict.fromkeys(name for text in expressions for name in _GET.findall(text))
        self._found = {name: f"f{number}" for number, name in enumerate(wanted)}
        if not wanted:
            return
        self._names["wanted"] = frozenset(ast.literal_eval(name) for name in wanted)
        self._line(f"{' = '.join(self._found.values())} = None")
        self._line("for field in request.fields:")
        self._line("    pair = field[0]")
        self._line("    if pair[0] in wanted:")
        for name, variable in self._found.items():
            self._line(f"        if pair[0] == {name}: {variable} = pair[1]")

    def add_text(self, pieces: list[str | tuple[str, str]]) -> None:
        """The pieces of a format of gunicorn's language."""
        expressions = [piece[0] for piece in pieces if isinstance(piece, tuple)]
        self._fields(expressions)
        if "date" in expressions:
            self._date(_Clock(_apache))
        for piece in pieces:
            if isinstance(piece, str):
                self._text(piece)
            elif piece[1]:
                self._value(f"{piece[1]!r} % ({piece[0]},)")
            else:
                self._value(piece[0])

    def add_json(self, context: Mapping[str, Any], request_id: str) -> None:
        """The members of a JSON line."""
        members = list(_JSON)
        if request_id:
            self._names["request_id"] = json_member("request_id")
            members.insert(-1, ("", f"request_id(get({request_id.lower().encode('ascii')!r}))"))
        self._names.update(_json_names())
        self._fields(expression for _, expression in members)
        self._date(_Clock(_rfc3339))
        self._text('{"time":"')
        self._value("date")
        self._text(".")
        self._value("thousandth[(started - since) // 1_000_000]")
        known = "".join(
            f',"{name}":{json_text(value) if isinstance(value, str) else value}'
            for name, value in context.items()
        )
        self._text(f'Z","event":"request"{known}')
        for name, expression in members:
            if name:
                self._text(f',"{name}":')
            self._value(expression)
        self._text("}")

    def _text(self, text: str) -> None:
        self._template += text.replace("{", "{{").replace("}", "}}")

    def _value(self, expression: str) -> None:
        """Simple expressions stand in the f-string itself, which cannot hold all (PEP 701 is of 3.12)."""
        expression = _GET.sub(lambda get: self._found[get[1]], expression)
        if expression.startswith("f'"):  # of our own: no quotes within
            self._template += expression[2:-1]
        elif expression == "'-'":
            self._template += "-"
        elif not set(expression) & set("'\"\\{}!:"):
            self._template += f"{{{expression}}}"
        else:
            self._line(f"v{self._count} = {expression}")
            self._template += f"{{v{self._count}}}"
            self._count += 1

    def compile(self, writer: Writer | Records | Callable[[str], object]) -> Callable[..., None]:
        """The function."""
        line = "f" + repr(self._template + "\n")
        if isinstance(writer, Writer):
            self._names.update(writer=writer, lines=writer.lines, put=writer.lines.append, seal=writer.seal)
            self._line(f"put({line})")
            self._line(f"if len(lines) >= {BATCH}: seal()")
            self._line("if writer.idle: writer.wake()")
        elif isinstance(writer, Records):
            self._names["put"] = writer
            self._line(f"put({line}, ({_PARTS}))")
        else:
            self._names["put"] = writer
            self._line(f"put({line})")
        exec(compile("\n".join(self._lines), "<access log format>", "exec"), self._names)
        write: Callable[..., None] = self._names["write"]
        return write


_GET: Final = re.compile(r"""get\((b(?:'[^']*'|"[^"]*"))\)""")
_JSON: Final = (
    ("client", "json[peer]"),
    ("scheme", "json[scheme]"),
    ("method", "json[request.method]"),
    ("target", "json[request.target]"),
    ("protocol", "protocol[request.version]"),
    ("status", "status"),
    ("bytes", "sent"),
    ("duration_us", "(ended - started) // 1000"),
    ("", "host[get(b'host')]"),
    ("", "referer[get(b'referer')]"),
    ("", "user_agent[get(b'user-agent')]"),
    ("", "'' if get(b'traceparent') is None else traced(get(b'traceparent'))"),
    ("", "cut[aborted]"),
)
"""The members of a JSON line: name and expression; without a name the expression makes it all, or nothing."""


def _json_names() -> dict[str, Any]:
    return {
        "json": Memo(json_text),
        "protocol": Memo(lambda version: json_text(f"HTTP/{version}")),
        "host": Memo(json_member("host")),
        "referer": Memo(json_member("referer")),
        "user_agent": Memo(json_member("user_agent")),
        "cut": Memo(json_member("aborted")),
        "traced": _traced,
        "thousandth": tuple(f"{number:03}" for number in range(1000)),
    }


def _traced(traceparent: bytes) -> str:
    found = trace(traceparent)
    return f',"trace_id":"{found[0]}","parent_id":"{found[1]}"' if found else ""


class _Clock:
    """The text of a second of wall-clock time, by the monotonic nanoseconds at which it began and ends.

    Looked up once a second, so a clock that is set shows within a second.
    """

    __slots__ = ("_make", "span")

    def __init__(self, make: Callable[[int], str]) -> None:
        self._make = make
        self.span = (0, 0, "")

    def turn(self, started: int) -> tuple[int, int, str]:
        """The second in which monotonic time `started` lay."""
        wall = time.time_ns() - time.monotonic_ns() + started
        since = started - wall % _SECOND
        span = (since, since + _SECOND, self._make(wall // _SECOND))
        if since > self.span[0]:  # one tuple, so a thread sees all of the old or all of the new
            self.span = span
        return span


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _apache(second: int) -> str:
    """`[day/month/year:h:m:s zone]`; months by our own names: an application may have called setlocale()."""
    local = time.localtime(second)
    zone = time.strftime("%z", local)
    day = f"{local.tm_mday:02}/{_MONTHS[local.tm_mon - 1]}/{local.tm_year}"
    return f"[{day}:{local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02} {zone}]"


def _rfc3339(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


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
    _clock: Final = _Clock(_apache)

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
