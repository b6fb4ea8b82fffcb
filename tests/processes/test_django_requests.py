"""Django under every worker kind: files, streams, uploads, prefixes, and what it hears of a client's end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes.client import Client, Cut
from tests.processes.measures import descriptors, peak, wait_quiet, worker_of
from tests.processes.server import Server, until

Serve = Callable[..., Server]
MIB = 1 << 20
ATTRIBUTES = {"sync": "wsgi", "threaded": "wsgi", "asgi": "asgi"}


def site(serve: Serve, kind: str, *options: str, **how: object) -> Server:
    threads = ["--threads", "4"] if kind == "threaded" else []
    return serve("-k", kind, "-w", "1", *threads, *options, f"probe_django:{ATTRIBUTES[kind]}", **how)


def connect(server: Server, **how: int) -> Client:
    return Client((server.host, server.port), **how)


def happened(server: Server) -> list[str]:
    file = server.directory / "happened"
    return file.read_text().splitlines() if file.exists() else []


# ---------------------------------------------------------------------- answers


def test_a_file(serve: Serve, kind: str, tmp_path: Path) -> None:
    """FileResponse: whole, with its length, also to HEAD; its file is closed. WSGI: by wsgi.file_wrapper."""
    content = hashlib.shake_128(b"file").digest(3_000_000)
    (tmp_path / "content.bin").write_bytes(content)
    server = site(serve, kind)
    with connect(server) as client:
        answer = client.get("/file?content.bin")
        assert answer.get("content-length") == "3000000"
        assert answer.body == content
        client.send(b"HEAD /file?content.bin HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = client.answer("HEAD")
        assert answer.get("content-length") == "3000000"
        assert client.get("/file?content.bin").body == content
    pid = worker_of(server)
    until(lambda: not any("content.bin" in open_file for open_file in descriptors(pid)), "the closing of it")


def test_a_stream(serve: Serve, kind: str) -> None:
    """StreamingHttpResponse: every part, in chunks, closed once, then request_finished."""
    server = site(serve, kind)
    with connect(server) as client:
        answer = client.get("/stream?1000")
        assert answer.get("transfer-encoding") == "chunked"
        assert answer.body == b"".join(b"part %d\n" % number for number in range(1000))
    until(lambda: happened(server) == ["started", "closed", "finished"], "the end of the request")


def test_a_stream_that_fails_is_cut(serve: Serve, kind: str) -> None:
    server = site(serve, kind)
    with connect(server) as client, pytest.raises(Cut):
        client.get("/late")
    server.log.wait("RuntimeError: after three parts")
    # Django's ASGI handler itself passes over close() and the signal when a stream raises.
    wanted = ["started"] if kind == "asgi" else ["started", "closed", "finished"]
    until(lambda: happened(server) == wanted, "the end of the request")


# ---------------------------------------------------------------------- where it is


@pytest.mark.parametrize("forced", [False, True], ids=["root_path", "both"])
def test_mounted_below_a_prefix(serve: Serve, kind: str, forced: bool) -> None:
    """asgi.md 10, 11, wsgi.md 7: the proxy passes the prefix on; Django sees the path without it and makes
    links with it.
    """
    server = site(serve, kind, "--root-path", "/app", env={"PROBE_SCRIPT_NAME": "/app"} if forced else {})
    with connect(server) as client:
        told = json.loads(client.get("/app/where").body)
    assert told["path"] == told["reverse"] == "/app/where"
    assert told["path_info"] == "/where"
    assert told["absolute"] == "http://test/app/x"


@pytest.mark.parametrize("by", ["root_path", "FORCE_SCRIPT_NAME"])
def test_a_prefix_that_the_proxy_takes_off(serve: Serve, kind: str, by: str) -> None:
    """asgi.md 10: the path without the prefix is the same place."""
    if by == "root_path":
        server = site(serve, kind, "--root-path", "/app")
    else:
        server = site(serve, kind, env={"PROBE_SCRIPT_NAME": "/app"})
    with connect(server) as client:
        told = json.loads(client.get("/where").body)
    assert told["path_info"] == "/where"
    assert told["reverse"] == "/app/where"


# ---------------------------------------------------------------------- uploads


def form(size: int) -> tuple[bytes, Iterator[bytes], int, str]:
    """Head, parts of the file, length and digest of a multipart form with one file of `size` bytes."""
    before = (
        b'--sep\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    after = b"\r\n--sep--\r\n"
    block = hashlib.shake_128(b"block").digest(MIB)
    digest = hashlib.sha256()
    for _ in range(size // MIB):
        digest.update(block)

    def parts() -> Iterator[bytes]:
        yield before
        for _ in range(size // MIB):
            yield block
        yield after

    head = (
        "POST /upload HTTP/1.1\r\nHost: test\r\nContent-Type: multipart/form-data; boundary=sep\r\n"
        f"Content-Length: {len(before) + size + len(after)}\r\n\r\n"
    )
    return head.encode(), parts(), size, digest.hexdigest()


def test_an_upload_of_100_mb_takes_no_memory(serve: Serve, kind: str) -> None:
    """To a file while it comes, and from there to Django's own; the worker stays as small as it was."""
    server = site(serve, kind)
    pid = worker_of(server)
    for size in (3 * MIB, 100 * MIB):  # the first one for what is loaded on the way
        head, parts, size, digest = form(size)
        before = peak(pid)
        with connect(server) as client:
            client.send(head)
            for part in parts:
                client.send(part)
            told = json.loads(client.answer().body)
        assert told == {"files": [["big.bin", size, digest, "TemporaryUploadedFile"]]}
    assert peak(pid) - before < 12 * MIB


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_a_body_read_in_parts(serve: Serve, kind: str, chunked: bool) -> None:
    """wsgi.md 25: also one without a Content-Length, which Django needs."""
    server = site(serve, kind)
    body = hashlib.shake_128(b"raw").digest(3_000_000)
    head = b"PUT /raw HTTP/1.1\r\nHost: test\r\n"
    if chunked:
        parts = b"".join(
            b"%x\r\n%b\r\n" % (50_000, body[at : at + 50_000]) for at in range(0, len(body), 50_000)
        )
        wire = head + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    else:
        wire = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connect(server) as client:
        told = json.loads(client.send(wire).answer().body)
        assert told == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        assert client.get("/where").status == 200


# ---------------------------------------------------------------------- the client's end


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_that_leaves_a_stream(serve: Serve, kind: str, how: str) -> None:
    """asgi.md 48, wsgi.md 35, 36: the generator ends, the response is closed, request_finished fires."""
    server = site(serve, kind)
    client = connect(server)
    client.send(b"GET /endless?a HTTP/1.1\r\nHost: test\r\n\r\n").take(1000)
    client.reset() if how == "reset" else client.sock.close()
    until(
        lambda: set(happened(server)) == {"started", "ended a", "closed", "finished"}, "the end of the stream"
    )
    assert len(happened(server)) == 4
    wait_quiet(server)
    with connect(server) as other:
        assert other.get("/where").status == 200
    assert "Traceback" not in server.log.text


@pytest.mark.parametrize("how", ["reset", "close"])
def test_an_async_view_is_cancelled_when_the_client_goes(serve: Serve, how: str) -> None:
    """asgi.md 24: Django hears http.disconnect and cancels the view."""
    server = site(serve, "asgi")
    client = connect(server)
    client.send(b"GET /wait?a HTTP/1.1\r\nHost: test\r\n\r\n")
    until(lambda: "waiting a" in happened(server), "the call of the view")
    client.reset() if how == "reset" else client.sock.close()
    until(lambda: "finished" in happened(server), "the end of the request")
    assert happened(server) == ["started", "waiting a", "cancelled a", "finished"]
    wait_quiet(server)
    assert "Traceback" not in server.log.text


def test_request_finished_always_fires(serve: Serve, kind: str, tmp_path: Path) -> None:
    """As often as request_started, whatever became of the request or its client."""
    (tmp_path / "content.bin").write_bytes(b"x" * 3_000_000)
    server = site(serve, kind)
    with connect(server) as client:
        for target in ("/where", "/nowhere", "/stream?3", "/file?content.bin"):
            client.get(target)
            client.send(f"HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode()).answer("HEAD")
        assert client.get("/boom").status == 500
    for number, target in enumerate(("/file?content.bin", "/stream?100000", "/endless?b", "/wait?b"), 10):
        client = connect(server, receive_buffer=4096)
        client.send(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        until(lambda number=number: happened(server).count("started") >= number, "the call of the view")
        client.reset()
    head, parts, _, _ = form(3 * MIB)
    for _ in range(3):
        client = connect(server)
        client.send(head).send(next(parts)).send(b"x" * 100_000)
        client.reset()
    wait_quiet(server)
    until(
        lambda: happened(server).count("started") == happened(server).count("finished") >= 13,
        "as many ends as beginnings",
    )
