"""gunicorn's format language: every atom, exact; formats refused with a reason."""

from __future__ import annotations

import base64
import os
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.observe.access import AccessLog
from arbiter.observe.atoms import ATOMS, DEFAULT, check_format
from tests.fakes.exchanges import exchange, field, request


def line(format: str, one: Any) -> str:
    lines: list[str] = []
    AccessLog(format, lines.append).write(*one)
    (only,) = lines
    return only[:-1]


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
    "p": "<PID>",
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
    expected = ATOM_CASES[atom].replace("PID", str(os.getpid()))
    assert line(f"[%({atom})s]", exchange()) == f"[{expected}]"


def test_every_atom_has_a_case() -> None:
    assert set(ATOMS) - set(ATOM_CASES) == {"t"}


def test_nothing_known_gives_dashes() -> None:
    nothing = exchange(request("", method="", fields=[]), peer=None, status=0, sent=0, headers=())
    format = "%(h)s %(m)s %(U)s %(s)s %(b)s %(f)s %(a)s %({x}i)s %({x}o)s %({x}e)s"
    assert line(format, nothing) == " ".join("-" * 10)
    assert line("%(B)s|%(q)s|%(s)d", nothing) == "0||0"


def test_aborted_tells_why() -> None:
    assert line("%(s)s %(X)s", exchange(status=0, aborted="client went away")) == "- client went away"


def test_width_percent_and_numbers() -> None:
    assert line("%(s)d %(D)012d %(h)12s|%(m)-6s| 100%%", exchange()) == (
        "200 000001234567    192.0.2.7|GET   | 100%"
    )


def test_user_of_basic_authentication() -> None:
    """RFC 7617: the user-id before the first colon; never the password, never another scheme's token."""

    def user(value: str) -> str:
        return line("%(u)s", exchange(request(fields=[field("Authorization", value)])))

    assert user("Basic " + base64.b64encode(b"ann:secret:x").decode()) == "ann"
    assert user("bAsIc " + base64.b64encode(b'a"n\n:x').decode()) == 'a\\"n\\n'
    assert user("Basic " + base64.b64encode(b"tokenonly").decode()) == "-"
    assert user("Basic !!!") == "-"
    assert user("Bearer abc:def") == "-"
    assert user("Basic") == "-"


def test_wsgi_environ() -> None:
    environ = {"REMOTE_USER": "eve\n", "wsgi.url_scheme": "https", "my.thing": 7}
    made = line("%({REMOTE_USER}e)s %({wsgi.url_scheme}e)s %({My.Thing}e)s", exchange(environ=environ))
    assert made == "eve\\n https 7"


def test_response_headers_as_text() -> None:
    assert line("%({X-A}o)s", exchange(headers=[("X-A", "1"), ("x-a", "2")])) == "2"


def test_the_last_of_several_fields() -> None:
    fields = [field("X-A", "1"), field("X-A", "2")]
    assert line("%({x-a}i)s", exchange(request(fields=fields))) == "2"


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
    assert check_format(DEFAULT) is None
    assert check_format("json") is None
    assert check_format("") is None
    assert line("plain {text} 'with' \"quotes\" \\", exchange()) == "plain {text} 'with' \"quotes\" \\"


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
