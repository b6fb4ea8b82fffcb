"""Access lines: gunicorn's atoms, exact; formats refused with a reason; no peer forges a line."""

from __future__ import annotations

import base64
import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.observe.access import ATOMS, AccessLog, Exchange, check_format
from arbiter.protocols.events import Field

GUNICORN = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'


def field(name: str, value: str) -> Field:
    key = "HTTP_" + name.upper().replace("-", "_")
    return Field((name.lower().encode(), value.encode("latin-1")), 0, key, value)


def exchange(**changes: object) -> Exchange:
    x = Exchange(
        remote_addr="192.0.2.7",
        method="GET",
        target="/things/7?color=blue",
        version="1.1",
        status=200,
        bytes_out=512,
        started=1_700_000_000.25,
        duration_ns=1_234_567_890,
        request_fields=[field("Referer", "https://example.org/"), field("User-Agent", "curl/8")],
        response_headers=[(b"Content-Type", b"text/html"), (b"X-Cache", b"hit")],
    )
    for name, value in changes.items():
        setattr(x, name, value)
    return x


def line(format: str, x: Exchange) -> str:
    lines: list[str] = []
    AccessLog(format, lines.append).write(x)
    (only,) = lines
    assert only.endswith("\n")
    return only[:-1]


def test_gunicorns_default_format() -> None:
    """gunicorn.md 1.1: the default access_log_format."""
    local = time.localtime(1_700_000_000)
    when = time.strftime("[%d/%b/%Y:%H:%M:%S %z]", local)
    request = '"GET /things/7?color=blue HTTP/1.1" 200 512 "https://example.org/" "curl/8"'
    assert line(GUNICORN, exchange()) == f"192.0.2.7 - - {when} {request}"


ATOM_CASES = {
    "h": "192.0.2.7",
    "l": "-",
    "u": "-",
    "r": "GET /things/7?color=blue HTTP/1.1",
    "m": "GET",
    "U": "/things/7",
    "q": "color=blue",
    "H": "HTTP/1.1",
    "s": "200",
    "B": "512",
    "b": "512",
    "f": "https://example.org/",
    "a": "curl/8",
    "T": "1",
    "M": "1234",
    "D": "1234567",
    "L": "1.234568",
    "p": f"<{os.getpid()}>",
    "X": "-",
    "{REFERER}i": "https://example.org/",
    "{x-missing}i": "-",
    "{x-cache}o": "hit",
    "{Content-Type}o": "text/html",
    "{x-missing}o": "-",
    "{request_method}e": "GET",
    "{HTTP_USER_AGENT}e": "curl/8",
    "{query_string}e": "color=blue",
    "{missing}e": "-",
}


@pytest.mark.parametrize("atom", ATOM_CASES)
def test_atom(atom: str) -> None:
    """gunicorn.md 1.5: every atom."""
    expected = ATOM_CASES[atom]
    if atom == "p":
        expected = f"<{os.getpid()}>"
    assert line(f"[%({atom})s]", exchange()) == f"[{expected}]"


def test_every_atom_has_a_case() -> None:
    assert set(ATOMS) - set(ATOM_CASES) == {"t"}


def test_nothing_known_gives_dashes() -> None:
    x = Exchange()
    format = "%(h)s %(m)s %(U)s %(s)s %(b)s %(f)s %(a)s %({x}i)s %({x}o)s %({x}e)s"
    assert line(format, x) == " ".join("-" * 10)
    assert line("%(B)s|%(q)s|%(s)d", x) == "0||0"


def test_aborted_tells_why() -> None:
    assert line("%(s)s %(X)s", exchange(status=0, aborted="client went away")) == "- client went away"


def test_width_percent_and_numbers() -> None:
    assert line("%(s)d %(D)012d %(h)12s|%(m)-6s| 100%%", exchange()) == (
        "200 000001234567    192.0.2.7|GET   | 100%"
    )


def test_absolute_form_target() -> None:
    x = exchange(target="http://example.org/a/b?c")
    assert line("%(U)s %(q)s", x) == "/a/b c"
    assert line("%(U)s", exchange(target="http://example.org")) == "/"
    assert line("%(U)s", exchange(target="*")) == "*"


def test_user_of_basic_authentication() -> None:
    """RFC 7617: the user-id before the first colon; never the password, never another scheme's token."""

    def user(value: str) -> str:
        return line("%(u)s", exchange(request_fields=[field("Authorization", value)]))

    assert user("Basic " + base64.b64encode(b"ann:secret:x").decode()) == "ann"
    assert user("bAsIc " + base64.b64encode(b'a"n\n:x').decode()) == 'a\\"n\\n'
    assert user("Basic " + base64.b64encode(b"tokenonly").decode()) == "-"
    assert user("Basic !!!") == "-"
    assert user("Bearer abc:def") == "-"
    assert user("Basic") == "-"


def test_wsgi_environ() -> None:
    x = exchange(environ={"REMOTE_USER": "eve\n", "wsgi.url_scheme": "https", "my.thing": 7})
    assert line("%({REMOTE_USER}e)s %({wsgi.url_scheme}e)s %({My.Thing}e)s", x) == "eve\\n https 7"


def test_response_headers_as_text() -> None:
    x = exchange(response_headers=[("X-A", "1"), ("x-a", "2")])
    assert line("%({X-A}o)s", x) == "2"


def test_the_last_of_several_fields() -> None:
    assert line("%({x-a}i)s", exchange(request_fields=[field("X-A", "1"), field("X-A", "2")])) == "2"


def test_the_date_follows_the_clock() -> None:
    lines: list[str] = []
    log = AccessLog("%(t)s", lines.append)
    for started in (0.5, 86400.0, 86400.9, 0.0):
        log.write(exchange(started=started))
    assert lines[0] == lines[3] != lines[1] == lines[2]
    assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]\n", lines[0])


@pytest.mark.parametrize(
    ("format", "says"),
    [
        ("%(z)s", "no atom %(z)s"),
        ("%({x}z)s", "no atom"),
        ("%({}i)s", "no atom"),
        ("%({a b}i)s", "no atom"),
        ("%()s", "no atom"),
        ("%h %l", "stray %"),
        ("100%", "stray %"),
        ("%(h", "stray %"),
        ("%(h)d", "cannot convert %(h)d; write %(h)s"),
        ("%(s)x", "write %(s)s or %(s)d"),
        ("%(s)c", "cannot convert"),
        ("a\nb", "line break"),
        ("%(h)s" * 201, "201 atoms"),
    ],
)
def test_refused_formats(format: str, says: str) -> None:
    problem = check_format(format)
    assert problem is not None
    assert says in problem
    with pytest.raises(ValueError, match=re.escape(problem)):
        AccessLog(format, print)


def test_good_formats_have_no_problem() -> None:
    assert check_format(GUNICORN) is None
    assert check_format("") is None
    assert line("plain text", exchange()) == "plain text"


def _unescape(text: str) -> str:
    named = {"n": "\n", "r": "\r", "t": "\t"}
    return re.sub(
        r"\\(?:x([0-9a-f]{2})|(.))", lambda m: chr(int(m[1], 16)) if m[1] else named.get(m[2], m[2]), text
    )


peer_text = st.text(st.characters(max_codepoint=255), max_size=40)


@given(method=peer_text, target=peer_text, agent=peer_text, referer=peer_text, sent=peer_text)
def test_no_peer_can_forge_a_line(method: str, target: str, agent: str, referer: str, sent: str) -> None:
    """Whatever the peer sent: one line of printable ASCII, whose quotes pair as the format's do."""
    x = exchange(
        method=method,
        target=target,
        request_fields=[field("User-Agent", agent), field("Referer", referer), field("X-Sent", sent)],
    )
    made = line('"%(r)s" "%(f)s" "%(a)s" "%({x-sent}i)s"', x)
    assert made.isascii()
    assert made.isprintable()
    parts = re.fullmatch(" ".join([r'"((?:[^"\\]|\\.)*)"'] * 4), made)
    assert parts is not None
    unescaped = [_unescape(part) for part in parts.groups()]
    assert unescaped[0] == f"{method} {target} HTTP/1.1"
    assert unescaped[1:] == [text or "-" for text in (referer, agent, sent)]


@given(format=st.text(max_size=30))
def test_any_format_is_refused_or_makes_one_line(format: str) -> None:
    if check_format(format) is None:
        assert "\n" not in line(format, exchange())


@given(name=st.text("{}'\"\\()abIoe%\n", max_size=12))
def test_names_cannot_reach_the_compiled_source(name: str) -> None:
    for family in "ioe":
        format = f"%({{{name}}}{family})s"
        if check_format(format) is None:
            assert isinstance(line(format, exchange()), str)
