"""Each worker kind, asked by ordinary clients: http.client, curl, requests, and nginx in front."""

from __future__ import annotations

import grp
import hashlib
import http.client
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.processes.server import Server, until

Serve = Callable[..., Server]


@pytest.fixture
def server(serve: Serve, options: list[str]) -> Server:
    return serve("-w", "2", *options)


def test_keep_alive(server: Server) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.connect()
    first = connection.sock
    for _ in range(20):
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read().startswith(b"pid=")
    assert connection.sock is first
    connection.close()


def test_a_large_body_comes_back_whole(server: Server) -> None:
    """Past 1 MiB, where bodies are spooled to a file."""
    body = hashlib.shake_128(b"seed").digest(5_000_000)
    answer = requests.post(f"http://127.0.0.1:{server.port}/echo", data=body, timeout=60)
    assert answer.status_code == 200
    assert answer.content == body


def test_a_chunked_body_comes_back_whole(server: Server) -> None:
    def parts() -> Iterator[bytes]:
        for number in range(200):
            yield b"%05d" % number * 97

    answer = requests.post(f"http://127.0.0.1:{server.port}/echo", data=parts(), timeout=60)
    assert answer.content == b"".join(parts())


def test_a_stream(server: Server) -> None:
    answer = requests.get(f"http://127.0.0.1:{server.port}/stream?1000", timeout=60)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.content == b"".join(b"part %d\n" % number for number in range(1000))


def test_head(server: Server) -> None:
    answer = requests.head(f"http://127.0.0.1:{server.port}/", timeout=30)
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 0


def raw(server: Server, data: bytes) -> bytes:
    with socket.create_connection((server.host, server.port), timeout=30) as client:
        client.sendall(data)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_http_1_0(server: Server) -> None:
    answer = raw(server, b"GET / HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\npid=" not in answer.partition(b"\r\n\r\n")[0]
    streamed = raw(server, b"GET /stream?3 HTTP/1.0\r\n\r\n")
    assert b"chunked" not in streamed
    assert streamed.endswith(b"\r\n\r\npart 0\npart 1\npart 2\n")


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """RFC 9112 9.3.2."""
    one = "GET /p{} HTTP/1.1\r\nHost: test\r\n\r\n"
    last = "GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    answer = raw(server, ("".join(one.format(number) for number in range(20)) + last).encode())
    paths = [part.split()[0].decode() for part in answer.split(b"path=")[1:]]
    assert paths == [*(f"/p{number}" for number in range(20)), "/last"]


def test_a_bad_request_is_refused_and_the_server_goes_on(server: Server) -> None:
    assert raw(server, b"NONSENSE\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(server, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert "pid=" in server.get()


def test_every_request_has_its_access_line(serve: Serve, options: list[str], tmp_path: Path) -> None:
    """At completion, with the length of the body; whole lines from several workers in one file."""
    format = "%(m)s %(U)s %(q)s %(s)s %(B)s %({content-type}o)s %(p)s"
    server = serve("-w", "2", *options, "--access-logfile", "access.log", "--access-logformat", format)
    bodies = [server.get(f"/page{number}?n={number}") for number in range(20)]
    server.get("/stream?10")
    log = tmp_path / "access.log"
    until(lambda: log.exists() and log.read_text().count("\n") == 21, "21 access lines")
    lines = log.read_text().splitlines()
    for number, body in enumerate(bodies):
        pid = body.split()[0].removeprefix("pid=")
        assert f"GET /page{number} n={number} 200 {len(body)} text/plain <{pid}>" in lines
    assert sum(line.startswith("GET /stream 10 200 70 - <") for line in lines) == 1


def test_curl(server: Server, tmp_path: Path) -> None:
    """curl sends Expect: 100-continue with a large body and waits for the answer to it."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    body = tmp_path / "body"
    body.write_bytes(hashlib.shake_128(b"curl").digest(2_000_000))
    command = [
        "curl",
        "-sS",
        "-v",
        "--max-time",
        "60",
        "-H",
        "Expect: 100-continue",
        "--data-binary",
        f"@{body}",
    ]
    ran = subprocess.run(
        [*command, "-o", tmp_path / "out", f"http://127.0.0.1:{server.port}/echo"],
        capture_output=True,
        timeout=90,
    )
    assert ran.returncode == 0, ran.stderr
    assert b"HTTP/1.1 100 Continue" in ran.stderr
    assert (tmp_path / "out").read_bytes() == body.read_bytes()


NGINX = """
user {user} {group}; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; client_max_body_size 0;
  upstream app {{ server unix:{dir}/a.sock; keepalive 4; }}
  server {{ listen unix:{dir}/front.sock;
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
                 proxy_set_header Host $host; proxy_request_buffering off; }} }}
}}
"""


def test_behind_nginx(serve: Serve, options: list[str], tmp_path: Path) -> None:
    """The usual front: kept upstream connections over a unix socket, unbuffered request bodies."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    serve("-w", "2", *options, bind=f"unix:{tmp_path}/a.sock")
    config = tmp_path / "nginx.conf"
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    config.write_text(NGINX.format(dir=tmp_path, user=user, group=group))
    nginx = subprocess.Popen(
        ["nginx", "-c", config, "-e", tmp_path / "nginx.log", "-p", tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until((tmp_path / "front.sock").exists, "nginx's socket")
        body = hashlib.shake_128(b"nginx").digest(300_000)
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(tmp_path / "front.sock"))
                head = "POST /length HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                head += f"Content-Length: {len(body)}\r\n\r\n"
                client.sendall(head.encode() + body)
                response = http.client.HTTPResponse(client)
                response.begin()
                assert response.status == 200
                assert b"length=300000" in response.read()
    finally:
        nginx.terminate()
        nginx.wait(30)
