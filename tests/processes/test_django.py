"""Django: what startproject writes, untouched, and the example project, under every worker kind."""

from __future__ import annotations

import hashlib
import http.cookiejar
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.server import ROOT, Server

Serve = Callable[..., Server]
EXAMPLE = ROOT / "examples" / "django_project"
MODULE = {"sync": "wsgi", "threaded": "wsgi", "asgi": "asgi"}


@pytest.fixture
def startproject(tmp_path: Path) -> Path:
    """A fresh `django-admin startproject mysite .`, nothing changed."""
    project = tmp_path / "project"
    project.mkdir()
    command = [sys.executable, "-m", "django", "startproject", "mysite", "."]
    subprocess.run(command, cwd=project, check=True, timeout=60)
    return project


@pytest.mark.parametrize("explicit", [True, False])
def test_startproject_untouched(serve: Serve, startproject: Path, kind: str, explicit: bool) -> None:
    """`arbiter mysite.asgi:application`, `mysite.wsgi:application`; also with the attribute left out."""
    app = f"mysite.{MODULE[kind]}" + (":application" if explicit else "")
    server = serve("-k", kind, "-w", "2", app, directory=startproject)
    assert "The install worked successfully" in server.get("/")
    server.reload()
    assert "The install worked successfully" in server.get("/")
    assert server.request("GET", "/nowhere")[0] == 404
    assert server.stop() == 0


def test_the_settings_module_from_the_command_line(serve: Serve, startproject: Path) -> None:
    (startproject / "mysite" / "special.py").write_text("from mysite.settings import *\nDEBUG = False\n")
    server = serve("-e", "DJANGO_SETTINGS_MODULE=mysite.special", "mysite.wsgi", directory=startproject)
    # Without DEBUG and ALLOWED_HOSTS, Django refuses every host: proof that the other module is in force.
    assert server.request("GET", "/")[0] == 400


def test_a_missing_settings_module_is_told_in_one_message(serve: Serve, startproject: Path) -> None:
    server = serve(
        "-e", "DJANGO_SETTINGS_MODULE=mysite.nothere", "mysite.wsgi", directory=startproject, ready=False
    )
    assert server.wait() == 4
    assert "mysite.nothere" in server.log.text
    assert f"{os.sep}arbiter{os.sep}workers" not in server.log.text


@pytest.fixture
def example(serve: Serve, tmp_path: Path, kind: str) -> Server:
    env = {"SHOWCASE_DB": str(tmp_path / "db.sqlite3")}
    subprocess.run(
        [sys.executable, EXAMPLE / "manage.py", "migrate", "--verbosity", "0"],
        env={**os.environ, **env},
        check=True,
        timeout=120,
    )
    options = ["-c", str(EXAMPLE / "arbiter.conf.py"), "-k", kind, f"showcase.{MODULE[kind]}:application"]
    return serve(*options, env=env)


def test_the_example(example: Server, kind: str, tmp_path: Path) -> None:
    page = example.get("/")
    assert f'kind <b class="mono">{kind}</b>' in page
    assert json.loads(example.get("/whoami/"))["pid"] in example.workers()
    assert json.loads(example.get("/gather/"))["notes"] == 0
    assert "csrfmiddlewaretoken" in example.get("/admin/login/")
    assert "--body-bg" in example.get("/static/admin/css/base.css")
    for sort in ("sync", "async"):
        assert example.get(f"/stream/{sort}/?parts=3&pause=0").count("part ") == 3
    assert json.loads(example.get("/slow/?seconds=0.01"))["slow"]
    assert json.loads(example.get("/slow/async/?seconds=0.01"))["slow"]
    body = hashlib.shake_128(b"upload").digest(3_000_000)
    status, answer = example.request("PUT", "/upload/raw/", body)
    assert status == 200
    assert json.loads(answer)["sha256"] == hashlib.sha256(body).hexdigest()
    assert example.stop() == 0


def test_the_guest_book_and_the_upload_form(example: Server) -> None:
    """As a browser does: cookies, the CSRF token, a redirect, a multipart form."""
    base = f"http://127.0.0.1:{example.port}"
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with browser.open(f"{base}/", timeout=30) as page:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.read().decode())
    assert found
    token = found[1]
    form = f"csrfmiddlewaretoken={token}&author=Ann&text=a+%3Cb%3Eline%3C%2Fb%3E".encode()
    with browser.open(f"{base}/", form, timeout=30) as page:
        assert "a &lt;b&gt;line&lt;/b&gt;" in page.read().decode()
    content = hashlib.shake_128(b"form").digest(3_000_000)
    parts = (
        b'--sep\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n'
        + token.encode()
        + b"\r\n"
        b'--sep\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--sep--\r\n"
    )
    post = urllib.request.Request(
        f"{base}/upload/", parts, {"Content-Type": "multipart/form-data; boundary=sep"}
    )
    with browser.open(post, timeout=60) as answer:
        (file,) = json.load(answer)["files"]
    assert file == {"name": "a.bin", "size": 3_000_000, "sha256": hashlib.sha256(content).hexdigest()}
