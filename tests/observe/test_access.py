"""Access lines: which are made, where they go, JSON, and that no peer forges one."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.observe.access import ATOMS, AccessLog, Choice, Exchange, News, Shape, open_access_log
from arbiter.observe.logs import Log
from arbiter.observe.writer import BATCH, Writer
from arbiter.protocols import events
from tests.fakes.exchanges import exchange, field, request

GUNICORN = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
NOON = 1_700_000_000.2505


def lines(format: str, *exchanges: Exchange, **how: Any) -> list[str]:
    made: list[str] = []
    log = AccessLog(format, made.append, **how)
    for one in exchanges:
        log.write(*one)
    assert all(line.endswith("\n") for line in made)
    return [line[:-1] for line in made]


def line(format: str, one: Exchange, **how: Any) -> str:
    (only,) = lines(format, one, **how)
    return only


def test_gunicorns_default_format() -> None:
    """gunicorn.md 1.1: the default access_log_format."""
    when = time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(NOON))
    asked = '"GET /things/7?color=blue HTTP/1.1" 200 512 "https://example.org/" "curl/8"'
    assert line(GUNICORN, exchange(began=NOON)) == f"192.0.2.7 - - {when} {asked}"


def test_the_date_follows_the_clock() -> None:
    """One that began long ago does not spoil the date of those that come after."""
    at = [lines("%(t)s", *(exchange(began=NOON + ago) for ago in (0, 0.7, 0.8, -3600, 0.9)))]
    (dates,) = at
    assert dates[0] == dates[1] != dates[2] == dates[4]
    assert dates[3] not in dates[:3]
    assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]", dates[0])


@pytest.mark.parametrize("format", [GUNICORN, "json", "%(u)s %({x-y}i)20s %({x-y}i)s %(a)s"])
def test_fields_that_come_again_are_read_once(format: str) -> None:
    """Only what is said of the fields is kept: the rest of each line is its own request's."""
    fields = [field("User-Agent", 'a"b'), field("X-Y", "z"), field("Authorization", "Basic YTpi")]
    kept = events.Kept()
    asked = [request(target, fields=fields, kept=kept) for target in ("/1", "/2", "/3")]
    alone = [request(target, fields=fields) for target in ("/1", "/2", "/3")]
    asked[2].fields = []
    made = [lines(format, *(exchange(one, began=NOON) for one in which)) for which in (asked, alone)]
    assert made[0] == made[1]
    assert len(set(made[0])) == (3 if format != "%(u)s %({x-y}i)20s %({x-y}i)s %(a)s" else 1)


# -- which


def test_excluded_paths_have_no_line() -> None:
    choice = Choice(("/healthz", "/static/*"))
    targets = ["/healthz", "/healthz?deep", "/healthzz", "/static/a.css", "/static", "/x"]
    made = lines("%(r)s", *(exchange(request(target)) for target in targets), choice=choice)
    assert [text.split()[1] for text in made] == ["/healthzz", "/static", "/x"]


def test_a_sample_has_its_share_and_all_that_failed() -> None:
    good = [exchange() for _ in range(4000)]
    bad = [exchange(status=503), exchange(status=0, aborted="the client disconnected")] * 10
    made = lines("%(s)s", *good, *bad, choice=Choice(sample=10))
    assert made.count("503") == 10
    assert made.count("-") == 10
    assert 200 < made.count("200") < 800


# -- JSON


def test_json() -> None:
    asked = request(fields=[field("Host", "shop.test"), field("User-Agent", "curl/8")])
    made = json.loads(line("json", exchange(asked, began=NOON), context={"worker": 3, "pid": 41}))
    assert made == {
        "time": "2023-11-14T22:13:20.250Z",
        "event": "request",
        "worker": 3,
        "pid": 41,
        "client": "192.0.2.7",
        "scheme": "http",
        "method": "GET",
        "target": "/things/7?color=blue",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 512,
        "duration_us": 1234567,
        "host": "shop.test",
        "user_agent": "curl/8",
    }


def test_json_of_one_that_was_cut_short() -> None:
    made = json.loads(line("json", exchange(peer=None, status=0, aborted="the client disconnected")))
    assert (made["client"], made["status"], made["aborted"]) == (None, 0, "the client disconnected")


def test_json_has_the_request_id_and_the_trace() -> None:
    """W3C Trace Context 3.2."""
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    fields = [field("X-Request-ID", "r-1"), field("traceparent", f"00-{trace}-{parent}-01")]
    made = json.loads(line("json", exchange(request(fields=fields)), request_id="X-Request-ID"))
    assert (made["request_id"], made["trace_id"], made["parent_id"]) == ("r-1", trace, parent)
    fields[1] = field("traceparent", "00-zz-1-01")
    made = json.loads(line("json", exchange(request(fields=fields))))
    assert not made.keys() & {"request_id", "trace_id", "parent_id"}


# -- no peer can forge a line

peer_text = st.text(st.characters(max_codepoint=255), max_size=40)


def _unescape(text: str) -> str:
    named = {"n": "\n", "r": "\r", "t": "\t"}
    return re.sub(
        r"\\(?:x([0-9a-f]{2})|(.))", lambda m: chr(int(m[1], 16)) if m[1] else named.get(m[2], m[2]), text
    )


@given(method=peer_text, target=peer_text, agent=peer_text, referer=peer_text, sent=peer_text)
def test_no_peer_can_forge_a_line(method: str, target: str, agent: str, referer: str, sent: str) -> None:
    """Whatever the peer sent: one line of printable ASCII, whose quotes pair as the format's do."""
    fields = [field("User-Agent", agent), field("Referer", referer), field("X-Sent", sent)]
    x = exchange(request(target, method=method, fields=fields))
    made = line('"%(r)s" "%(f)s" "%(a)s" "%({x-sent}i)s"', x)
    assert made.isascii()
    assert made.isprintable()
    parts = re.fullmatch(" ".join([r'"((?:[^"\\]|\\.)*)"'] * 4), made)
    assert parts is not None
    unescaped = [_unescape(part) for part in parts.groups()]
    assert unescaped[0] == f"{method} {target} HTTP/1.1"
    assert unescaped[1:] == [text or "-" for text in (referer, agent, sent)]


@given(target=peer_text, agent=st.binary(max_size=40), aborted=st.text(max_size=20))
def test_no_peer_can_forge_json(target: str, agent: bytes, aborted: str) -> None:
    fields = [field("User-Agent", agent.decode("latin-1"))]
    made = line("json", exchange(request(target, fields=fields), aborted=aborted))
    assert made.isascii()
    assert "\n" not in made
    read = json.loads(made)
    assert read.get("user_agent", "") == agent.decode("utf-8", "backslashreplace")
    assert read.get("aborted", "") == aborted


# -- where they go


@pytest.fixture
def loggers() -> Iterator[logging.Logger]:
    logger = logging.getLogger("arbiter.access.test")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers = []


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def settings(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "log_format": "text",
        "access_log_format": GUNICORN,
        "access_log_exclude": (),
        "access_log_sample": 1,
        "access_log_buffer": 1 << 20,
        "request_id_header": None,
    }
    return SimpleNamespace(**{**values, **changes})


def logs(logger: logging.Logger | None = None, targets: tuple[Any, ...] = ()) -> Any:
    return SimpleNamespace(access_logger=lambda: logger, access_targets=lambda: list(targets))


def test_no_target_no_log() -> None:
    assert open_access_log(settings(), logs(), Log("worker 1")) is None


def test_an_operators_handler_gets_all_atoms(loggers: logging.Logger) -> None:
    """gunicorn.md 1.1, logconfig_dict: JSON formatters of real projects read the atoms from record.args."""
    kept = Kept()
    loggers.addHandler(kept)
    log = open_access_log(settings(), logs(loggers), Log("worker 1"))
    assert log is not None
    log.write(*exchange(began=NOON, status=404))
    (record,) = kept.records
    assert record.getMessage() == line(GUNICORN, exchange(began=NOON, status=404))
    args: Any = record.args
    assert (args["h"], args["s"], args["{x-cache}o"], args["m"]) == ("192.0.2.7", 404, "hit", "GET")
    assert set(args) >= set("hlurtmUqHsBbfaTDMLp")
    with pytest.raises(KeyError):
        args["nonsense"]


def test_json_for_an_operators_handler(loggers: logging.Logger) -> None:
    kept = Kept()
    loggers.addHandler(kept)
    log = open_access_log(settings(access_log_format="json"), logs(loggers), Log("w", {"worker": 1}))
    assert log is not None
    log.write(*exchange(request("/100%25?%(h)s")))
    read = json.loads(kept.records[0].getMessage())
    assert (read["target"], read["worker"]) == ("/100%25?%(h)s", 1)


class Target:
    def __init__(self) -> None:
        self.text = ""

    def send(self, data: bytes, stopping: Any) -> None:
        self.text += data.decode()


@pytest.mark.parametrize(
    ("changes", "is_json"),
    [
        ({}, False),
        ({"log_format": "json"}, True),
        ({"log_format": "json", "access_log_format": "%(h)s"}, False),
        ({"access_log_format": "json"}, True),
    ],
)
def test_json_logs_have_a_json_access_log(changes: dict[str, Any], is_json: bool) -> None:
    """Unless a format was asked for."""
    target = Target()
    log = open_access_log(settings(**changes), logs(targets=(target,)), Log("w"))
    assert log is not None
    log.write(*exchange())
    assert log.close() == 0
    assert target.text.startswith("{") is is_json


# -- when they are made

EVERY_ATOM = " ".join(f"%({atom})s" for atom in [*ATOMS, "{x-y}i", "{x-cache}o", "{wsgi.url_scheme}e"])


def written(format: str, *exchanges: Exchange, log: Log | None = None, **changes: Any) -> list[str]:
    """The lines that a worker writes."""
    target = Target()
    made = open_access_log(
        settings(access_log_format=format, **changes), logs(targets=(target,)), log or Log("w")
    )
    assert made is not None
    for one in exchanges:
        made.write(*one)
    assert made.close() == 0
    return target.text.splitlines()


@pytest.mark.parametrize("format", [GUNICORN, "json", EVERY_ATOM, "nothing to be told"])
def test_they_say_the_same_whenever_they_are_made(format: str) -> None:
    asked = [request(f"/{number}", method="PUT" if number % 2 else "GET") for number in range(2 * BATCH + 9)]
    told = [exchange(one, status=200 + number, began=NOON) for number, one in enumerate(asked)]
    made = written(format, *told)
    assert made == lines(format, *told)
    assert len(made) == len(asked)


def test_what_the_application_may_change_is_read_at_once() -> None:
    headers = [("X-Cache", "hit")]
    environ = {"wsgi.input": None, "site": "a"}
    target = Target()
    how = settings(access_log_format="%({x-cache}o)s %({site}e)s")
    log = open_access_log(how, logs(targets=(target,)), Log("w"))
    assert log is not None
    log.write(*exchange(headers=headers, environ=environ))
    headers[0], environ["site"] = ("X-Cache", "miss"), "b"
    log.write(*exchange(headers=headers, environ=environ))
    assert log.close() == 0
    assert target.text == "hit a\nmiss b\n"


def test_one_that_cannot_be_made_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    bad = exchange()._replace(request=None)  # type: ignore[arg-type]
    caplog.set_level(logging.ERROR, "arbiter.error")
    assert written("%(m)s %(s)s", exchange(), bad, exchange(status=404)) == ["GET 200", "GET 404"]
    assert written("%(m)s %({x}o)s", exchange(), bad, exchange(headers=[])) == ["GET -", "GET -"]
    assert [record.message for record in caplog.records] == ["a line of the access log could not be made"] * 2


def test_what_an_operators_handler_raises_is_not_the_end(
    loggers: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no disk for this one either")

    log = Log("w")
    monkeypatch.setattr(log, "error_log", loggers)
    loggers.addHandler(Raises())
    bad = exchange()._replace(request=None)  # type: ignore[arg-type]
    assert written("%(m)s %(s)s", exchange(), bad, exchange(status=404), log=log) == ["GET 200", "GET 404"]


def test_excluded_ones_among_others() -> None:
    told = [exchange(request("/healthz" if number % 2 else "/")) for number in range(3 * BATCH)]
    assert written("%(U)s", *told, access_log_exclude=("/healthz",)) == ["/"] * (len(told) // 2)


def test_nothing_is_kept_of_who_has_no_line() -> None:
    writer = Writer([Target()], 1 << 20, lambda problem, lost: None)
    log = AccessLog("%(m)s", writer, choice=Choice(("/healthz", "/static/*"), 1 << 60))
    for target in ("/healthz", "/static/x", "/"):
        log.write(*exchange(request(target)))
    assert writer.idle
    assert not writer.lines


@pytest.mark.parametrize(("format", "kept"), [("headers=%(m)s environ", True), ("%({x}o)s", False)])
def test_which_formats_can_wait(format: str, kept: bool) -> None:
    writer = Writer([Target()], 1 << 20, lambda problem, lost: None)
    writer.idle = False
    AccessLog(format, writer).write(*exchange())
    assert (type(writer.lines[0]) is tuple) is kept


def test_the_applications_own_text_is_read_at_once() -> None:
    """What stands for REMOTE_ADDR may be something that knows its value only now and here."""

    class Lazy:
        value = "192.0.2.1"

        def __str__(self) -> str:
            return self.value

    one: Any = Lazy()
    target = Target()
    log = open_access_log(settings(access_log_format="%(h)s"), logs(targets=(target,)), Log("w"))
    assert log is not None
    tell = log.shaped(Shape("request, peers", {"peer": "peers.pop()"}))
    tell(request(), [one])
    one.value = "later"
    tell(request(), [None])
    assert log.close() == 0
    assert target.text == "192.0.2.1\n-\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([("No space", 0), ("", 0)], ["cannot be written: No space; its", "is written again; 0 lines were"]),
        ([("", 1)], ["is written too slowly; 1 line was dropped"]),
    ],
)
def test_what_a_writer_tells(
    caplog: pytest.LogCaptureFixture, words: list[tuple[str, int]], says: list[str]
) -> None:
    caplog.set_level(logging.WARNING, "arbiter.error")
    tell = News(Log("w"))
    for problem, lost in words:
        tell(problem, lost)
    for text, record in zip(says, caplog.records, strict=True):
        assert text in record.getMessage()


def test_reopening_waits_for_the_lines_before_it() -> None:
    order: list[str] = []
    target = Target()
    log = open_access_log(settings(access_log_format="%(m)s"), logs(targets=(target,)), Log("w"))
    assert log is not None
    log.write(*exchange())
    log.run_after_flush(lambda: order.append(target.text))
    log.close()
    assert order == ["GET\n"]
