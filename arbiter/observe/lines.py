"""How lines of the access log are made: source text that is put together once, compiled, and called.

Two functions: one is told of every exchange, as its dispatcher likes to tell it; the other makes lines of
many of them at once, which takes half of the time that it takes between requests, whose code and data are
then in the processor's caches.

Neighbours: `access` wants the functions, `atoms` has the expressions of gunicorn's language, `escape` what
makes foreign text harmless. Its one rule: only expressions of this package's own are compiled; all that comes
from the operator goes in as literals made by repr().
"""

from __future__ import annotations

import ast
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from arbiter.observe import atoms
from arbiter.observe.escape import Memo, json_member, json_text
from arbiter.observe.trace import trace

PARTS: Final = (
    *("request", "peer", "scheme", "status", "sent"),
    *("started", "ended", "headers", "environ", "aborted"),
)
"""What expressions may speak of; see `access.Exchange`."""

_TEXTS: Final = ("peer", "scheme")
"""Those that an application can have replaced by something that only looks like text."""
_SECOND: Final = 1_000_000_000


class Shape(NamedTuple):
    """How a function is called: its parameters, and the expressions for those of `PARTS` that are no
    parameters.
    """

    parameters: str = ", ".join(PARTS)
    values: Mapping[str, str] = MappingProxyType({})

    def part(self, name: str) -> str:
        """The expression of one of `PARTS`."""
        value = self.values.get(name, name)
        return f"(x if type(x := {value}) is str else plain(x))" if name in _TEXTS else value

    def some(self, names: Iterable[str]) -> str:
        """The expression of a tuple of these."""
        return f"({''.join(self.part(name) + ', ' for name in names)})"


class Choice(NamedTuple):
    """Which requests are logged: `exclude` paths ("/healthz", "/static/*") are not, and of the others one in
    `sample`; what failed (5xx, cut short) always is.
    """

    exclude: Sequence[str] = ()
    sample: int = 1

    def made(self, shape: Shape) -> tuple[list[str], dict[str, Any]]:
        """Lines that return from a function of this shape for what is not logged, and the names they need."""
        request = shape.part("request")
        exact = frozenset(path.encode() for path in self.exclude if not path.endswith("*"))
        under = tuple(path[:-1].encode() for path in self.exclude if path.endswith("*"))
        lines = []
        if exact:
            lines.append(f"if {request}.path in excluded: return")
        if under:
            lines.append(f"if {request}.path.startswith(under): return")
        if self.sample > 1:
            good = f"{shape.part('status')} < 500 and not {shape.part('aborted')}"
            lines.append(f"if {good} and random() >= share: return")
        names = {"excluded": exact, "under": under, "random": random.random, "share": 1.0 / self.sample}
        return lines, names


class Source:
    """The source text of a function, as it grows."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[str, Any] = atoms.names()
        self._template = ""
        self._count = 0
        self._said: dict[str, str] = {}

    def _line(self, text: str) -> None:
        self._lines.append(text)

    def _date(self, clock: Clock) -> None:
        self._names["clock"] = clock
        self._line("since, until, date = clock.span")
        self._line("if not since <= started < until: since, until, date = clock.turn(started)")

    def _fields(self, expressions: Iterable[str]) -> None:
        """Work out in one go what is said of the request's fields; `_value` knows it as k0, k1 and so on.

        Where the same lines come again and again (`Request.kept`) it is worked out once.
        """
        said = [text for text in dict.fromkeys(expressions) if _GET.search(text)]
        wanted = dict.fromkeys(name for text in said for name in _GET.findall(text))
        if not wanted:
            return
        found = {name: f"f{number}" for number, name in enumerate(wanted)}
        self._said = {text: f"k{number}" for number, text in enumerate(said)}
        self._names["wanted"] = frozenset(ast.literal_eval(name) for name in wanted)
        self._line("kept = request.kept")
        self._line("said = None if kept is None else kept.log")
        self._line("if said is None:")
        self._line(f"    {' = '.join(found.values())} = None")
        self._line("    for field in request.fields:")
        self._line("        pair = field[0]")
        self._line("        if pair[0] in wanted:")
        for number, (name, variable) in enumerate(found.items()):
            self._line(f"            {'elif' if number else 'if'} pair[0] == {name}: {variable} = pair[1]")
        values = "".join(_GET.sub(lambda get: found[get[1]], text) + ", " for text in said)
        self._line(f"    said = ({values})")
        self._line("    if kept is not None: kept.log = said")
        self._line(f"{', '.join(self._said.values())}, = said")

    def add_text(self, pieces: list[str | tuple[str, str]]) -> None:
        """The pieces of a format of gunicorn's language."""
        expressions = [piece[0] for piece in pieces if isinstance(piece, tuple)]
        self._fields(expressions)
        if "date" in expressions:
            self._date(Clock(apache))
        for piece in pieces:
            if isinstance(piece, str):
                self._text(piece)
            elif piece[1]:
                self._value(f"{piece[1]!r} % ({self._said.get(piece[0], piece[0])},)")
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
        self._date(Clock(rfc3339))
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
        expression = self._said.get(expression, expression)
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

    def parts(self) -> list[str]:
        """Those of `PARTS` that a line needs."""
        tree = ast.parse("\n".join([*self._lines, self._line_made()]))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        return [name for name in PARTS if name in used]

    def compile(self, failed: Callable[[], None] | None = None) -> Callable[[Sequence[Any]], list[str]]:
        """The function: of exchanges, each the tuple of its `parts`, to the lines of those that get one.

        failed: called, without arguments, for one whose line cannot be made.
        """
        each = [*self._lines, f"add({self._line_made()})"]
        parts = "".join(f"{name}, " for name in self.parts())
        loop = [f"for ({parts}) in exchanges:", *_indented(_guarded(each, failed))]
        body = ["made = []", "add = made.append", *loop, "return made"]
        return _function("lines(exchanges)", body, self._names | {"failed": failed})

    def _line_made(self) -> str:
        return f"f{self._template + chr(10)!r}"


def teller(
    shape: Shape,
    choice: Choice,
    body: Iterable[str],
    failed: Callable[[], None] | None = None,
    **names: Any,
) -> Callable[..., None]:
    """The function that is told of an exchange; `body` are its lines for one that is logged, names what they
    call.
    """
    skips, more = choice.made(shape)
    names |= more | {"failed": failed, "plain": _plain}
    return _function(f"write({shape.parameters})", _guarded([*skips, *body], failed), names)


def _plain(value: object) -> str | None:
    return None if value is None else str(value)


def _function(head: str, body: Iterable[str], names: Mapping[str, Any]) -> Callable[..., Any]:
    scope = dict(names)
    source = "\n".join([f"def {head}:", *_indented(body)])
    exec(compile(source, "<access log format>", "exec"), scope)
    made: Callable[..., Any] = scope[head.partition("(")[0]]
    return made


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {text}" for text in lines]


def _guarded(body: Sequence[str], failed: Callable[[], None] | None) -> Sequence[str]:
    return body if failed is None else ["try:", *_indented(body), "except Exception: failed()"]


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
    ("", "'' if get(b'host') is None else host[get(b'host')]"),
    ("", "'' if get(b'referer') is None else referer[get(b'referer')]"),
    ("", "'' if get(b'user-agent') is None else user_agent[get(b'user-agent')]"),
    ("", "'' if get(b'traceparent') is None else traced(get(b'traceparent'))"),
    ("", "cut[aborted] if aborted else ''"),
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


class Clock:
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


def apache(second: int) -> str:
    """`[day/month/year:h:m:s zone]`; months by our own names: an application may have called setlocale()."""
    local = time.localtime(second)
    zone = time.strftime("%z", local)
    day = f"{local.tm_mday:02}/{_MONTHS[local.tm_mon - 1]}/{local.tm_year}"
    return f"[{day}:{local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02} {zone}]"


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def http_date(seconds: float) -> bytes:
    """A time of the Unix clock as an IMF-fixdate (RFC 9110 5.6.7), for the field Date."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(seconds)
    name = f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year}"
    return f"{name} {hour:02}:{minute:02}:{second:02} GMT".encode("ascii")


def rfc3339(second: int) -> str:
    """A second of the Unix clock as the date and time in UTC, without zone and fraction."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
