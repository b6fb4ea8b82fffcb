"""h11 as the oracle: what is valid is read alike, what we accept it accepts, what we write it understands."""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arbiter.protocols.events import BadRequest, Request
from tests.fakes.http1 import connection, conversation, head, serving
from tests.fakes.oracle import beside_h11, bodies, read_by_h11
from tests.protocols.http1.test_splits import FRAGMENTS, streams

TCHARS = "!#$%&'*+-.^_`|~0123456789abcXYZ"
tokens = st.text(TCHARS, min_size=1, max_size=12).map(str.encode)
values = st.binary(max_size=30).map(
    lambda raw: bytes(byte for byte in raw if byte in b"\t" or 0x20 <= byte != 0x7F).strip(b" \t")
)
targets = st.binary(max_size=30).map(
    lambda raw: b"/" + bytes(byte for byte in raw if 0x21 <= byte < 0x7F and byte != 0x23)
)
READ_BY_US = {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"}
names = tokens.filter(lambda name: b"_" not in name and name.lower() not in READ_BY_US)


@st.composite
def valid_requests(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a valid request, written by hand, and what is in it."""
    method = draw(st.one_of(st.sampled_from([b"GET", b"POST", b"HEAD", b"DELETE"]), tokens))
    assume(method != b"CONNECT")
    fields = draw(st.lists(st.tuples(names, values), max_size=5))
    target = draw(targets)
    body = draw(st.binary(max_size=60))
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    lines = [
        b"%b:%b%b%b"
        % (name, draw(st.sampled_from([b"", b" ", b"\t "])), value, draw(st.sampled_from([b"", b" "])))
        for name, value in fields
    ]
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
        raw = body
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: " + draw(st.sampled_from([b"chunked", b"Chunked"])))
        cut = draw(st.integers(0, len(body)))
        raw = (
            b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
            + b"0\r\n\r\n"
        )
    else:
        body = raw = b""
    data = head(*lines, line=b"%b %b HTTP/1.1" % (method, target)) + raw
    return data, {"method": method, "target": target, "fields": fields, "body": body}


@given(valid_requests())
def test_valid_requests_are_read_as_written_and_as_h11_reads_them(case: tuple[bytes, dict[str, Any]]) -> None:
    """http.md 1, 12, 13, 18, 24: nothing valid is refused or changed."""
    data, written = case
    events = connection().receive(data)
    request = events[0]
    assert isinstance(request, Request), request.reason  # type: ignore[union-attr]
    assert bodies(events) == [(written["method"], written["target"], written["body"])]
    ours = [field.pair for field in request.fields if field.kind not in (1, 2)][1:]
    assert ours == [(name.lower(), value) for name, value in written["fields"]]

    theirs, refused = read_by_h11(data)
    assert not refused
    assert bodies(theirs) == bodies(events)
    assert [pair for pair in theirs[0].headers if pair[0] not in READ_BY_US] == ours


def h11_completes_what_we_complete(data: bytes) -> None:
    events, _ = conversation([data])
    ours, theirs = beside_h11(events, data)
    assert ours == theirs


@given(st.one_of(streams(), st.lists(FRAGMENTS, max_size=12).map(b"".join)))
def test_what_we_accept_h11_accepts(data: bytes) -> None:
    """http.md 9 to 28: of streams with faults, what we complete h11 completes, with the same bodies."""
    h11_completes_what_we_complete(data)


@given(
    valid_requests(), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=2)
)
def test_what_we_accept_of_damaged_requests_h11_accepts(
    case: tuple[bytes, dict[str, Any]], damage: list[tuple[int, int]]
) -> None:
    """http.md 9 to 28: one or two bytes of a valid request replaced by others."""
    raw = bytearray(case[0])
    for position, byte in damage:
        raw[position % len(raw)] = byte
    h11_completes_what_we_complete(bytes(raw))


@pytest.mark.parametrize(
    "data",
    [
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        head(b"X: a", b" folded"),
        head(b"Content-Length: 0", b"Content-Length: 0"),
        head(host=b"Host: a b"),
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_where_we_are_stricter_than_h11(data: bytes) -> None:
    """http.md 3, 4, 10, 11, 17, 19, 22: h11 lets these pass, we do not."""
    events, _ = conversation([data])
    assert any(isinstance(event, BadRequest) for event in events)
    theirs, refused = read_by_h11(data)
    assert not refused
    assert bodies(theirs)


# ---- the answers, read by h11 as the client


def read_answer(line: bytes, sent: bytes, closed: bool) -> tuple[Any, bytes, list[tuple[bytes, bytes]]]:
    """(the response, its body, its trailers) as a client sees them; an incomplete answer is an error."""
    method, _, rest = line.partition(b" ")
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target=rest.split(b" ")[0], headers=[(b"host", b"a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    if closed:
        client.receive_data(b"")
    response, body = None, b""
    while True:
        event = client.next_event()
        if isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert client.trailing_data[0] == b""
            return response, body, [*event.headers]
        else:
            assert isinstance(event, h11.InformationalResponse), event


parts_of_a_body = st.lists(st.binary(max_size=50), min_size=1, max_size=5)


@given(
    st.sampled_from([b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"GET / HTTP/1.0"]),
    st.sampled_from([200, 204, 304, 404, 299]),
    parts_of_a_body,
    st.booleans(),
    st.lists(st.tuples(names, values), max_size=4),
    st.booleans(),
)
def test_answers_survive_the_wire(
    line: bytes, status: int, parts: list[bytes], sized: bool, fields: list[tuple[bytes, bytes]], keep: bool
) -> None:
    """http.md 41, 42: a client reads back status, fields and body; the end is where we say it is."""
    dropped = {b"date", b"server", b"keep-alive", b"proxy-connection", b"te"}
    assume(all(name.lower() not in dropped for name, _ in fields))
    body = b"".join(parts)
    conn = serving(*([b"Connection: keep-alive"] if keep else []), line=line)
    conn.respond(status, [*fields, *([(b"Content-Length", b"%d" % len(body))] if sized else [])])
    sent = b"".join(conn.body(part, number < len(parts)) for number, part in enumerate(parts, 1))
    assert conn.finished
    response, got, _ = read_answer(line, sent, closed=not conn.keep_alive)
    assert response.status_code == status
    empty = line.startswith(b"HEAD") or status in (204, 304)
    assert got == (b"" if empty else body)
    assert [
        pair for pair in response.headers if pair[0] in {name.lower() for name, _ in fields} - READ_BY_US
    ] == [(name.lower(), value) for name, value in fields]
    framings = [name for name, _ in response.headers if name in (b"content-length", b"transfer-encoding")]
    assert len(framings) <= 1
    assert framings or empty or not conn.keep_alive


@given(parts_of_a_body, st.lists(st.tuples(names, values), max_size=3))
def test_trailers_survive_the_wire(parts: list[bytes], fields: list[tuple[bytes, bytes]]) -> None:
    """http.md 42: trailers come after the body, and an interim response before the head."""
    forbidden = {*READ_BY_US, b"date", b"server", b"te", b"trailer", b"keep-alive"}
    assume(all(name.lower() not in forbidden for name, _ in fields))
    line = b"GET / HTTP/1.1"
    conn = serving()
    sent = conn.interim(103, [(b"link", b"</a>")])
    conn.respond(200, [], trailers=True)
    sent += b"".join(conn.body(part, True) for part in parts) + conn.trailers(fields)
    _, body, trailers = read_answer(line, sent, closed=False)
    assert body == b"".join(parts)
    assert trailers == [(name.lower(), value) for name, value in fields]


@pytest.mark.parametrize("status", [400, 405, 408, 413, 414, 417, 431, 500, 501, 503, 504, 505])
def test_our_own_answers_survive_the_wire(status: int) -> None:
    """http.md 48: what the server itself answers is as well-formed as what it asks of others."""
    response, body, _ = read_answer(b"GET / HTTP/1.1", connection().error(status), closed=True)
    assert response.status_code == status
    assert (b"connection", b"close") in list(response.headers)
    assert body.startswith(b"%d " % status)
