"""The access log: one line per exchange, in gunicorn's format language.

Neighbours: a dispatcher fills an `Exchange` when an answer is complete (or cut) and hands it to
`AccessLog.write`; `config.check` asks `check_format`. Its one rule: a format is compiled once, into one
function that reads only what the format names, and nothing a peer sent can end a line or leave its quotes.

Sources: gunicorn's `access_log_format` (names and meanings of the atoms), Apache's mod_log_config (escaping).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from arbiter.protocols.events import Field

Headers: TypeAlias = Sequence[tuple[bytes, bytes]] | Sequence[tuple[str, str]]


class Exchange:
    """One request and what became of it; filled by a dispatcher, read by a compiled format.

    started is wall-clock seconds since the epoch, duration_ns a monotonic difference. status is 0 when no
    answer was begun; bytes_out counts the body only. environ is the WSGI environ, None under ASGI. aborted
    says why the exchange was cut short ("" when it was not).
    """

    __slots__ = (
        "aborted",
        "bytes_out",
        "duration_ns",
        "environ",
        "method",
        "remote_addr",
        "request_fields",
        "response_headers",
        "scheme",
        "started",
        "status",
        "target",
        "version",
    )

    def __init__(
        self,
        remote_addr: str = "",
        method: str = "",
        target: str = "",
        version: str = "1.1",
        status: int = 0,
        bytes_out: int = 0,
        started: float = 0.0,
        duration_ns: int = 0,
        request_fields: Sequence[Field] = (),
        response_headers: Headers = (),
        environ: Mapping[str, Any] | None = None,
        scheme: str = "http",
        aborted: str = "",
    ) -> None:
        self.remote_addr = remote_addr
        self.method = method
        self.target = target
        self.version = version
        self.status = status
        self.bytes_out = bytes_out
        self.started = started
        self.duration_ns = duration_ns
        self.request_fields = request_fields
        self.response_headers = response_headers
        self.environ = environ
        self.scheme = scheme
        self.aborted = aborted


class AccessLog:
    """A compiled format and where its lines go.

    `write(exchange)` is the compiled function itself, kept as an attribute so that a call costs one call. The
    sink gets one whole line at a time, with its line end.
    """

    __slots__ = ("format", "write")

    def __init__(self, format: str, write: Callable[[str], None]) -> None:
        """Raise ValueError if `check_format(format)` finds fault with it."""
        self.format = format
        self.write: Callable[[Exchange], None] = _compile(format, write)


class _Atom(NamedTuple):
    """What a one-letter atom puts in the line: a Python expression over `x` (the Exchange) and helpers."""

    expression: str
    number: bool
    meaning: str


ATOMS: dict[str, _Atom] = {
    "h": _Atom("escape(x.remote_addr) or '-'", False, "client address"),
    "l": _Atom("'-'", False, "always -"),
    "u": _Atom("user(sent)", False, "user name of HTTP Basic authentication"),
    "t": _Atom("date(x.started)", False, "local time the request began, [day/month/year:h:m:s zone]"),
    "r": _Atom("escape(f'{x.method} {x.target} HTTP/{x.version}')", False, "request line"),
    "m": _Atom("escape(x.method) or '-'", False, "method"),
    "U": _Atom("escape(split(x.target)[0]) or '-'", False, "path without the query"),
    "q": _Atom("escape(split(x.target)[1])", False, "query, empty if there is none"),
    "H": _Atom("f'HTTP/{x.version}'", False, "protocol"),
    "s": _Atom("x.status", True, "status"),
    "B": _Atom("x.bytes_out", True, "length of the answer's body in bytes"),
    "b": _Atom("(x.bytes_out or '-')", False, "as B, but - for nothing"),
    "f": _Atom("escape(sent.get(b'referer')) or '-'", False, "Referer field"),
    "a": _Atom("escape(sent.get(b'user-agent')) or '-'", False, "User-Agent field"),
    "T": _Atom("x.duration_ns // 1_000_000_000", True, "duration in whole seconds"),
    "M": _Atom("x.duration_ns // 1_000_000", True, "duration in whole milliseconds"),
    "D": _Atom("x.duration_ns // 1_000", True, "duration in microseconds"),
    "L": _Atom("'%.6f' % (x.duration_ns / 1e9)", False, "duration in seconds with six decimals"),
    "p": _Atom("f'<{getpid()}>'", False, "process id, <1234>"),
    "X": _Atom("escape(x.aborted) or '-'", False, "why the exchange was cut short, - if it was not"),
}
"""gunicorn's one-letter atoms (`X` is arbiter's own)."""

_FAMILIES: dict[str, str] = {
    "i": "escape(sent.get({name})) or '-'",
    "o": "escape(answered(x.response_headers, {name})) or '-'",
    "e": "escape(variable(x, {name})) or '-'",
}
"""The atoms with a name in braces: {x}i request field, {x}o response field, {x}e environ variable."""

_ITEM = re.compile(
    r"%(?:(?P<percent>%)"
    r"|\((?P<atom>[^)]*)\)(?P<flags>[-#0 +]*)(?P<width>\d{0,3})(?P<dot>\.\d{1,3})?(?P<as>[a-zA-Z]))"
)
_BRACED = re.compile(r"\{(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)\}(?P<family>.)")
_MOST_ITEMS = 200


def check_format(format: str) -> str | None:
    """Say what is wrong with an access log format, or None if nothing is.

    The text reads as the problem of a setting: "has no atom %(z)s; ...".
    """
    try:
        _pieces(format)
    except ValueError as error:
        return str(error)
    return None


def _compile(format: str, sink: Callable[[str], None]) -> Callable[[Exchange], None]:
    """Turn a format into the function that makes and writes a line.

    The source is assembled from this module's own expressions; all that comes from the operator goes in as
    literals made by repr().
    """
    literals, expressions = _pieces(format)
    values = ", ".join(expressions)
    # The request fields are put in a dict only if an atom asks for one; it is then shared by all of them.
    fields = any("sent" in expression for expression in expressions)
    head = "    sent = {field.pair[0]: field.text for field in x.request_fields}\n" if fields else ""
    source = f"def write(x):\n{head}    sink({literals!r} % ({values}{',' if expressions else ''}))\n"
    names: dict[str, Any] = {
        "sink": sink,
        "escape": _escape,
        "date": _Dates(),
        "split": _split,
        "user": _user,
        "answered": _answered,
        "variable": _variable,
        "getpid": os.getpid,
    }
    exec(compile(source, "<access log format>", "exec"), names)
    write: Callable[[Exchange], None] = names["write"]
    return write


def _pieces(format: str) -> tuple[str, list[str]]:
    """Return a %-format for all values and the expressions of those values; ValueError says what is wrong."""
    if "\n" in format or "\r" in format:
        raise ValueError("holds a line break; a record is one line")
    template: list[str] = []
    expressions: list[str] = []
    at = 0
    for item in _ITEM.finditer(format):
        template.append(_literal(format[at : item.start()]))
        at = item.end()
        if item["percent"]:
            template.append("%%")
            continue
        template.append(f"%{item['flags']}{item['width']}{item['dot'] or ''}{item['as']}")
        expressions.append(_expression(item["atom"], item["as"]))
    template.append(_literal(format[at:]))
    if len(expressions) > _MOST_ITEMS:
        raise ValueError(f"holds {len(expressions)} atoms; {_MOST_ITEMS} is the most")
    template.append("\n")
    return "".join(template), expressions


def _literal(text: str) -> str:
    if "%" in text:
        where = text[text.index("%") :][:12]
        raise ValueError(f"has a stray % at {where!r}; write %(h)s for an atom and %% for a percent sign")
    return text


def _expression(atom: str, conversion: str) -> str:
    """Return the expression of one atom, or raise ValueError for one that does not exist or convert so."""
    braced = _BRACED.fullmatch(atom)
    if braced and braced["family"] in _FAMILIES:
        name = braced["name"].lower()
        literal = repr(name.encode("ascii") if braced["family"] == "i" else name)
        expression, number = _FAMILIES[braced["family"]].format(name=literal), False
    elif atom in ATOMS:
        expression, number, _ = ATOMS[atom]
    else:
        known = " ".join(ATOMS)
        raise ValueError(f"has no atom %({atom})s; there are {known} and {{name}}i {{name}}o {{name}}e")
    if conversion not in ("sdif" if number else "s"):
        remedy = f"%({atom})s or %({atom})d" if number else f"%({atom})s"
        raise ValueError(f"cannot convert %({atom}){conversion}; write {remedy}")
    if atom == "s" and conversion == "s":
        return "(x.status or '-')"
    return expression


# ---- what the compiled functions call

_unsafe = re.compile(r"[^ !#-\[\]-~]").search
_NAMED = {'"': '\\"', "\\": "\\\\", "\r": "\\r", "\n": "\\n", "\t": "\\t"}


def _escape(value: object) -> str:
    r"""Return text that cannot forge a line: printable ASCII, with " and \ escaped; "" for None.

    Other characters become \xhh or \uhhhh, as Apache does since 2.0.46, so that a terminal that shows the log
    cannot be driven by it either.
    """
    if value is None:
        return ""
    text = value if type(value) is str else _text(value)
    if _unsafe(text) is None:
        return text
    return "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    if " " <= char <= "~":
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


class _Dates:
    """`[day/month/year:h:m:s zone]` in local time, made once a second.

    Months by our own names: an application may have called setlocale().
    """

    __slots__ = ("_second", "_text")
    _MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, started: float) -> str:
        second = int(started)
        if second != self._second:
            local = time.localtime(second)
            zone = time.strftime("%z", local)
            day = f"{local.tm_mday:02}/{self._MONTHS[local.tm_mon - 1]}/{local.tm_year}"
            # Text before key: a thread that reads between the two stores makes its own text.
            text = f"[{day}:{local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02} {zone}]"
            self._text, self._second = text, second
            return text
        return self._text


def _split(target: str) -> tuple[str, str]:
    """Return path and query of a request target; the absolute-form loses its scheme and authority."""
    path, _, query = target.partition("?")
    if path and path[0] != "/":
        _, absolute, rest = path.partition("://")
        if absolute:
            slash = rest.find("/")
            path = rest[slash:] if slash >= 0 else "/"
    return path, query


def _user(sent: Mapping[bytes, str]) -> str:
    """Return the escaped user name of `Authorization: Basic` (RFC 7617), "-" if there is none."""
    credentials = sent.get(b"authorization")
    if credentials is None:
        return "-"
    scheme, _, token = credentials.partition(" ")
    if scheme.lower() != "basic":
        return "-"
    try:
        decoded = base64.b64decode(token.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return "-"
    name, colon, _ = decoded.partition(":")
    # Without a colon it is no user-pass, and what is there may be a secret.
    return (_escape(name) or "-") if colon else "-"


def _answered(headers: Headers, name: str) -> str | None:
    """Return the last response field of that (lower-case) name."""
    found: str | None = None
    for key, value in headers:
        if _text(key).lower() == name:
            found = _text(value)
    return found


def _variable(x: Exchange, name: str) -> object:
    """Return an environ variable by its lower-case name; under ASGI the CGI variables it would have had."""
    environ = x.environ
    if environ is not None:
        found = environ.get(name.upper())
        if found is not None:
            return found
        return next((value for key, value in environ.items() if key.lower() == name), None)
    key = name.upper()
    for field in x.request_fields:
        if field.key == key and field.key:
            return field.text
    path, query = _split(x.target)
    derived: dict[str, object] = {
        "request_method": x.method,
        "path_info": path,
        "query_string": query,
        "raw_uri": x.target,
        "server_protocol": f"HTTP/{x.version}",
        "remote_addr": x.remote_addr,
        "wsgi.url_scheme": x.scheme,
    }
    return derived.get(name)
