"""gunicorn's language of access log formats: `%(h)s`, `%({user-agent}i)s`.

Neighbours: `lines` compiles what `pieces` returns; `config.check` asks `check_format`. Its one rule: an
atom is a Python expression of this module's own; of the operator's text only literals made by repr() get
into what is compiled.

The expressions are over the parts of an exchange (`lines.PARTS`), `date` (of the second in which the request
began), `get(b'name')` (a request field by its lower-case name) and what `names` has.

Source: gunicorn's `access_log_format` (names and meanings of the atoms).
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from arbiter.observe.escape import Memo, as_text, or_dash, quotable
from arbiter.protocols.events import Request

Headers: TypeAlias = Sequence[tuple[bytes, bytes]] | Sequence[tuple[str, str]]


class Atom(NamedTuple):
    """What a one-letter atom puts in the line; `number` for what `%d` can convert."""

    expression: str
    number: bool
    meaning: str


ATOMS: Final[dict[str, Atom]] = {
    "h": Atom("quoted[peer]", False, "client address"),
    "l": Atom("'-'", False, "always -"),
    "u": Atom(
        "('-' if get(b'authorization') is None else user(get(b'authorization')))",
        False,
        "user name of HTTP Basic authentication",
    ),
    "t": Atom("date", False, "local time the request began, [day/month/year:h:m:s zone]"),
    "r": Atom(
        "f'{bare[request.method]} {bare[request.target]} HTTP/{request.version}'", False, "request line"
    ),
    "m": Atom("quoted[request.method]", False, "method"),
    "U": Atom("quoted[request.path]", False, "path without the query"),
    "q": Atom("bare[request.query]", False, "query, empty if there is none"),
    "H": Atom("f'HTTP/{request.version}'", False, "protocol"),
    "s": Atom("status", True, "status"),
    "B": Atom("sent", True, "length of the answer's body in bytes"),
    "b": Atom("(sent or '-')", False, "as B, but - for nothing"),
    "f": Atom("quoted[get(b'referer')]", False, "Referer field"),
    "a": Atom("quoted[get(b'user-agent')]", False, "User-Agent field"),
    "T": Atom("(ended - started) // 1_000_000_000", True, "duration in whole seconds"),
    "M": Atom("(ended - started) // 1_000_000", True, "duration in whole milliseconds"),
    "D": Atom("(ended - started) // 1_000", True, "duration in microseconds"),
    "L": Atom("'%.6f' % ((ended - started) / 1e9)", False, "duration in seconds with six decimals"),
    "p": Atom("f'<{getpid()}>'", False, "process id, <1234>"),
    "X": Atom("quoted[aborted]", False, "why the exchange was cut short, - if it was not"),
}
"""gunicorn's one-letter atoms (`X` is arbiter's own)."""

_FAMILIES: Final = {
    "i": "quoted[get({name})]",
    "o": "quoted[answered(headers, {name})]",
    "e": "quoted[variable({name}, request, environ, peer, scheme)]",
}
"""The atoms with a name in braces: {x}i request field, {x}o response field, {x}e environ variable."""

_ITEM: Final = re.compile(
    r"%(?:(?P<percent>%)"
    r"|\((?P<atom>[^)]*)\)(?P<flags>[-#0 +]*)(?P<width>\d{0,3})(?P<dot>\.\d{1,3})?(?P<as>[a-zA-Z]))"
)
_BRACED: Final = re.compile(r"\{(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)\}(?P<family>.)")
_MOST_ITEMS: Final = 200
DEFAULT: Final = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
"""gunicorn's own format: Apache's "combined"."""
JSON: Final = "json"
"""In place of a format: a JSON object per line."""


def check_format(format: str) -> str | None:
    """Say what is wrong with an access log format, or None if nothing is.

    The text reads as the problem of a setting: "has no atom %(z)s; ...".
    """
    try:
        pieces(format)
    except ValueError as error:
        return str(error)
    return None


def pieces(format: str) -> list[str | tuple[str, str]]:
    """The format's literal texts and, as (expression, conversion), its atoms; ValueError says what is wrong.

    The conversion is "" where str() of the expression is what is wanted, else a %-conversion.
    """
    if format == JSON:
        return []
    if "\n" in format or "\r" in format:
        raise ValueError("holds a line break; a record is one line")
    found: list[str | tuple[str, str]] = []
    at = 0
    for item in _ITEM.finditer(format):
        found.append(_literal(format[at : item.start()]))
        at = item.end()
        if item["percent"]:
            found.append("%")
            continue
        detail = f"{item['flags']}{item['width']}{item['dot'] or ''}"
        conversion = f"%{detail}{item['as']}" if detail or item["as"] != "s" else ""
        found.append((expression(item["atom"], item["as"]), conversion))
    found.append(_literal(format[at:]))
    atoms = sum(1 for piece in found if isinstance(piece, tuple))
    if atoms > _MOST_ITEMS:
        raise ValueError(f"holds {atoms} atoms; {_MOST_ITEMS} is the most")
    return [piece for piece in found if piece]


def _literal(text: str) -> str:
    if "%" in text:
        where = text[text.index("%") :][:12]
        raise ValueError(f"has a stray % at {where!r}; write %(h)s for an atom and %% for a percent sign")
    return text


def expression(atom: str, conversion: str) -> str:
    """The expression of one atom; raises ValueError for one that does not exist or convert so."""
    braced = _BRACED.fullmatch(atom)
    if braced and braced["family"] in _FAMILIES:
        name = braced["name"].lower()
        literal = repr(name.encode("ascii") if braced["family"] == "i" else name)
        found, number = _FAMILIES[braced["family"]].format(name=literal), False
    elif atom in ATOMS:
        found, number, _ = ATOMS[atom]
    else:
        known = " ".join(ATOMS)
        raise ValueError(f"has no atom %({atom})s; there are {known} and {{name}}i {{name}}o {{name}}e")
    if conversion not in ("sdif" if number else "s"):
        remedy = f"%({atom})s or %({atom})d" if number else f"%({atom})s"
        raise ValueError(f"cannot convert %({atom}){conversion}; write {remedy}")
    if atom == "s" and conversion == "s":
        return "(status or '-')"
    return found


# ---- what the expressions call


def _user(credentials: bytes) -> str:
    """The escaped user name of `Authorization: Basic` (RFC 7617), "-" if there is none."""
    scheme, _, token = credentials.partition(b" ")
    if scheme.lower() != b"basic":
        return "-"
    try:
        decoded = binascii.a2b_base64(token.strip(), strict_mode=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return "-"
    name, colon, _ = decoded.partition(":")
    # Without a colon it is no user-pass, and what is there may be a secret.
    return or_dash(name) if colon else "-"


def _answered(headers: Headers, name: str) -> str | None:
    """The last response field of that (lower-case) name."""
    found: str | None = None
    for key, value in headers:
        if as_text(key).lower() == name:
            found = as_text(value)
    return found


def _variable(
    name: str, request: Request, environ: Mapping[str, Any] | None, peer: str | None, scheme: str
) -> str | None:
    """An environ variable by its lower-case name; under ASGI the CGI variables it would have had."""
    if environ is not None:
        found = environ.get(name.upper())
        if found is None:
            found = next((value for key, value in environ.items() if key.lower() == name), None)
        return None if found is None else as_text(found)
    key = name.upper()
    for field in request.fields:
        if field.key == key and field.key:
            return field.text
    derived: dict[str, str | bytes | None] = {
        "request_method": request.method,
        "path_info": request.path,
        "query_string": request.query,
        "raw_uri": request.target,
        "server_protocol": f"HTTP/{request.version}",
        "remote_addr": peer,
        "wsgi.url_scheme": scheme,
    }
    value = derived.get(name)
    return None if value is None else as_text(value)


def names() -> dict[str, Any]:
    """What the expressions call by name; memos of their own for each log."""
    return {
        "quoted": Memo(or_dash),
        "bare": Memo(quotable),
        "user": _user,
        "answered": _answered,
        "variable": _variable,
        "getpid": os.getpid,
    }
