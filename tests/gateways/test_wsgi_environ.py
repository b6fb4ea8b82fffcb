"""The environ: what is in it, byte for byte, and what is not."""

from __future__ import annotations

import io
import os
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbiter.gateways.wsgi import FileWrapper
from arbiter.gateways.wsgi_environ import (
    ErrorStream,
    build_environ,
    environ_template,
    mount,
    script_name,
    set_origin,
)
from arbiter.protocols.events import Request
from arbiter.protocols.http1.connection import Http1Connection, ResponseDefaults
from arbiter.protocols.limits import Limits


def template(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "server": ("192.0.2.1", 8000),
        "peer": ("198.51.100.7", 4711),
        "scheme": "http",
        "root_path": "",
        "errors": ErrorStream(lambda lines: None),
        "multithread": False,
        "multiprocess": True,
    }
    return environ_template(**{**values, **changes})


def request(head: str | bytes) -> Request:
    data = head.encode("latin-1") if isinstance(head, str) else head
    [event, *_] = Http1Connection(Limits(), ResponseDefaults()).receive(data)
    assert isinstance(event, Request), event
    return event


def environ_of(
    line: str = "GET / HTTP/1.1", *fields: str, host: bool = True, **changes: Any
) -> dict[str, Any]:
    lines = [line, *(["Host: example.org"] if host else []), *fields, "", ""]
    return build_environ(template(**changes), request("\r\n".join(lines)), io.BytesIO())


def test_a_plain_dict_of_its_own() -> None:
    """wsgi.md 1."""
    shared = template()
    before = dict(shared)
    one = build_environ(shared, request("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), io.BytesIO())
    two = build_environ(shared, request("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), io.BytesIO())
    assert type(one) is dict
    assert one is not two
    one["mine"] = 1
    assert "mine" not in two
    assert shared == before


def test_a_request_that_comes_again_and_again() -> None:
    """wsgi.md 1: it has an environ of its own each time, which says what it would have said alone."""
    conn = Http1Connection(Limits(), ResponseDefaults())
    shared = template(root_path="/mounted")
    lines = [
        "GET /mounted/a%20b?c HTTP/1.1",
        "GET /d HTTP/1.1",
        "DELETE /d HTTP/1.1",
        "GET /mounted HTTP/1.1",
    ]
    for turn in range(24):
        head = f"{lines[turn // 2 % 4]}\r\nHost: x\r\nAccept: a\r\nAccept: b\r\n\r\n"
        [asked] = conn.receive(head.encode("ascii"))
        assert isinstance(asked, Request)
        stream = io.BytesIO()
        environ = build_environ(shared, asked, stream)
        assert environ == build_environ(shared, request(head), stream)
        assert environ["HTTP_ACCEPT"] == "a,b"
        environ["mine"] = environ["PATH_INFO"] = environ["SCRIPT_NAME"] = "changed"
        conn.respond(200, [])
        conn.body(b"", False)
        assert conn.next_request() == []
    assert asked.kept is not None


def test_a_body_that_comes_again_and_again() -> None:
    """wsgi.md 5: a chunked body has its own size each time."""
    conn = Http1Connection(Limits(), ResponseDefaults())
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for size in range(1, 6):
        [asked, *_] = conn.receive(head + b"%d\r\n%b\r\n0\r\n\r\n" % (size, b"b" * size))
        assert isinstance(asked, Request)
        environ = build_environ(template(), asked, io.BytesIO(), size)
        assert (environ["CONTENT_LENGTH"], "HTTP_TRANSFER_ENCODING" in environ) == (str(size), False)
        conn.respond(200, [])
        conn.body(b"", False)
        assert conn.next_request() == []


def test_nothing_of_the_process_environment() -> None:
    """wsgi.md 2."""
    assert not set(os.environ) & set(environ_of())


def test_cgi_variables_are_native_strings() -> None:
    """wsgi.md 3, 8."""
    environ = environ_of("POST /a/b?c=d&e HTTP/1.1")
    assert environ["REQUEST_METHOD"] == "POST"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/a/b"
    assert environ["QUERY_STRING"] == "c=d&e"
    assert environ["SERVER_NAME"] == "192.0.2.1"
    assert environ["SERVER_PORT"] == "8000"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["REMOTE_ADDR"] == "198.51.100.7"
    assert environ["REMOTE_PORT"] == "4711"
    assert environ_of()["QUERY_STRING"] == ""
    assert all(type(value) is str for key, value in environ.items() if "." not in key)


def test_server_protocol_of_a_10_client() -> None:
    """wsgi.md 4."""
    assert environ_of("GET / HTTP/1.0")["SERVER_PROTOCOL"] == "HTTP/1.0"


@given(st.binary(max_size=60))
def test_path_survives_byte_exactly(raw: bytes) -> None:
    """wsgi.md 5: PATH_INFO is the percent-decoded bytes as latin-1."""
    target = "/" + "".join(f"%{byte:02X}" for byte in raw)
    assert environ_of(f"GET {target} HTTP/1.1")["PATH_INFO"].encode("latin-1") == b"/" + raw


def test_path_with_bad_escapes_and_raw_bytes() -> None:
    """wsgi.md 5: what is no escape stays as it is."""
    assert environ_of("GET /%zz%f HTTP/1.1")["PATH_INFO"] == "/%zz%f"
    assert environ_of("GET /caf\xc3\xa9 HTTP/1.1")["PATH_INFO"] == "/caf\xc3\xa9"


def test_encoded_slash_and_the_raw_target() -> None:
    """wsgi.md 6: %2F is decoded in PATH_INFO; RAW_URI and REQUEST_URI have the target as it was sent."""
    environ = environ_of("GET /a%2Fb%3F?x=%20 HTTP/1.1")
    assert environ["PATH_INFO"] == "/a/b?"
    assert environ["QUERY_STRING"] == "x=%20"
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == "/a%2Fb%3F?x=%20"


def test_absolute_form() -> None:
    """wsgi.md 6: the target's authority is HTTP_HOST, its path PATH_INFO."""
    environ = environ_of("GET http://other.example/x?y HTTP/1.1")
    assert environ["PATH_INFO"] == "/x"
    assert environ["HTTP_HOST"] == "other.example"
    assert environ["RAW_URI"] == "http://other.example/x?y"


@pytest.mark.parametrize(
    ("root_path", "path", "script", "rest"),
    [
        ("", "/a", "", "/a"),
        ("/", "/a", "", "/a"),
        ("/app", "/app/a", "/app", "/a"),
        ("/app/", "/app", "/app", ""),
        ("app", "/apple", "/app", "/apple"),
        ("/app", "/a", "/app", "/a"),
    ],
)
def test_mount_point(root_path: str, path: str, script: str, rest: str) -> None:
    """wsgi.md 7: SCRIPT_NAME + PATH_INFO restore the path, whether or not a proxy cut the prefix off."""
    environ = environ_of(f"GET {path} HTTP/1.1", root_path=root_path)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script, rest)


def test_script_name_is_utf8_as_latin1() -> None:
    assert script_name("/caf\xe9") == "/caf\xc3\xa9"


def test_content_type_and_length_have_no_prefix() -> None:
    """wsgi.md 9."""
    environ = environ_of("POST / HTTP/1.1", "Content-Type: text/plain", "Content-Length: 5")
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["CONTENT_LENGTH"] == "5"
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ
    assert not {"CONTENT_TYPE", "CONTENT_LENGTH"} & set(environ_of())


def test_repeated_fields_are_joined() -> None:
    """wsgi.md 10: by a comma, Cookie by a semicolon."""
    environ = environ_of("GET / HTTP/1.1", "X-A: 1", "Cookie: a=1", "x-a: 2", "Cookie: b=2", "X-A: 3")
    assert environ["HTTP_X_A"] == "1,2,3"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"


def test_fields_with_underscores_are_dropped() -> None:
    """wsgi.md 11."""
    environ = environ_of("GET / HTTP/1.1", "X_A: evil", "X-A: good")
    assert environ["HTTP_X_A"] == "good"
    assert "HTTP_X_B" not in environ_of("GET / HTTP/1.1", "X_B: evil")


def test_latin1_values_are_kept() -> None:
    """wsgi.md 12."""
    assert environ_of("GET / HTTP/1.1", "X-A: caf\xe9")["HTTP_X_A"] == "caf\xe9"


def test_proxy_is_not_exported() -> None:
    """wsgi.md 13: httpoxy."""
    assert "HTTP_PROXY" not in environ_of("GET / HTTP/1.1", "Proxy: http://evil")
    assert "" not in environ_of("GET / HTTP/1.1", "Proxy: http://evil")


def test_unix_socket() -> None:
    """wsgi.md 14, 15: REMOTE_ADDR is "", the server has a name and a port."""
    environ = environ_of(server=None, peer=None)
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ
    assert environ["SERVER_NAME"] == "localhost"
    assert environ["SERVER_PORT"] == "80"
    assert environ_of(server=None, peer=None, scheme="https")["SERVER_PORT"] == "443"


def test_no_host() -> None:
    """wsgi.md 16."""
    assert "HTTP_HOST" not in environ_of("GET / HTTP/1.0", host=False)
    assert environ_of()["HTTP_HOST"] == "example.org"


def test_wsgi_variables() -> None:
    """wsgi.md 17, 24: the flags tell the truth; the input ends by itself."""
    stream = io.BytesIO(b"x")
    environ = build_environ(
        template(multithread=True, multiprocess=False), request("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), stream
    )
    assert environ["wsgi.version"] == (1, 0)
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.multithread"] is True
    assert environ["wsgi.multiprocess"] is False
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.input"] is stream
    assert environ["wsgi.input_terminated"] is True
    assert environ["wsgi.file_wrapper"] is FileWrapper


def test_collected_chunked_body() -> None:
    """wsgi.md 25: CONTENT_LENGTH is set, Transfer-Encoding gone."""
    head = request("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    environ = build_environ(template(), head, io.BytesIO(b"12345"), 5)
    assert environ["CONTENT_LENGTH"] == "5"
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert build_environ(template(), head, io.BytesIO(), 0)["CONTENT_LENGTH"] == "0"


def test_upgrade_is_plain_http() -> None:
    """http.md 39: an upgrade that is not offered reaches the application as a field, no more."""
    assert (
        environ_of("GET / HTTP/1.1", "Upgrade: websocket", "Connection: upgrade")["HTTP_UPGRADE"]
        == "websocket"
    )


def told(**changes: Any) -> dict[str, Any]:
    environ = environ_of("GET /app/x HTTP/1.1", **changes.pop("base", {}))
    values: dict[str, Any] = {"client": None, "scheme": "http", "host": None, "port": None, "prefix": ""}
    set_origin(environ, **{**values, **changes})
    return environ


def test_what_a_proxy_says_replaces_the_connection() -> None:
    """http.md 49."""
    environ = told(client=("203.0.113.9", 0), scheme="https", host=b"www.example", port=8443, prefix="/app")
    assert environ["REMOTE_ADDR"] == "203.0.113.9"
    assert "REMOTE_PORT" not in environ
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTP_HOST"] == "www.example"
    assert environ["SERVER_PORT"] == "8443"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", "/x")


def test_what_a_proxy_does_not_say_stays() -> None:
    environ = told()
    assert environ["REMOTE_ADDR"] == "198.51.100.7"
    assert environ["REMOTE_PORT"] == "4711"
    assert environ["HTTP_HOST"] == "example.org"
    assert environ["SERVER_PORT"] == "8000"
    assert told(client=("203.0.113.9", 7))["REMOTE_PORT"] == "7"


def test_port_of_a_unix_socket_follows_the_scheme() -> None:
    """wsgi.md 15."""
    assert told(scheme="https", base={"server": None, "peer": None})["SERVER_PORT"] == "443"
    assert told(scheme="https")["SERVER_PORT"] == "8000"


def test_mount_takes_whole_segments_only() -> None:
    environ = {"PATH_INFO": "/application/x", "SCRIPT_NAME": ""}
    mount(environ, "/app")
    assert environ == {"PATH_INFO": "/application/x", "SCRIPT_NAME": "/app"}


class TestErrorStream:
    """wsgi.md 18."""

    def test_whole_lines_go_out(self) -> None:
        lines: list[str] = []
        stream = ErrorStream(lines.append)
        assert stream.write("one\ntwo") == 7
        assert lines == ["one\n"]
        stream.writelines([" more\n", "three\n", ""])
        assert lines == ["one\n", "two more\n", "three\n"]
        stream.write("rest")
        stream.flush()
        stream.flush()
        assert lines[-1] == "rest\n"
        assert len(lines) == 4

    def test_only_text(self) -> None:
        with pytest.raises(TypeError, match="str"):
            ErrorStream(lambda lines: None).write(b"bytes")  # type: ignore[arg-type]

    def test_a_line_without_end_is_let_go_of(self) -> None:
        lines: list[str] = []
        stream = ErrorStream(lines.append)
        for _ in range(3):
            stream.write("x" * 50_000)
        assert sum(map(len, lines)) > 50_000

    def test_lines_of_several_threads_do_not_mix(self) -> None:
        lines: list[str] = []
        stream = ErrorStream(lines.append)
        together = threading.Barrier(4)

        def write(name: str) -> None:
            together.wait()
            for _ in range(200):
                stream.write(name)
                stream.write(name + "\n")

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(set(lines)) == ["aa\n", "bb\n", "cc\n", "dd\n"]
        assert len(lines) == 800
