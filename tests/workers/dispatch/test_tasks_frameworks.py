"""Django and Starlette in an asgi worker: what they rely on holds."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.fakes.asgi_worker import PATIENCE, Reader, Worker, fetch, request, serving

# Django leaves the files of some requests to the garbage collector (uploads, a view that raises SystemExit).
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

django = pytest.importorskip("django")
starlette = pytest.importorskip("starlette")

from django.conf import settings  # noqa: E402

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        ROOT_URLCONF=__name__,
        SECRET_KEY="of a test",
        USE_TZ=True,
    )
    django.setup()

from django.core import signals  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse  # noqa: E402
from django.test.utils import override_settings  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.background import BackgroundTask  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import FileResponse as StarletteFile  # noqa: E402
from starlette.responses import PlainTextResponse, Response, StreamingResponse  # noqa: E402
from starlette.routing import Route, WebSocketRoute  # noqa: E402
from starlette.websockets import WebSocket, WebSocketDisconnect  # noqa: E402

# ---------------------------------------------------------------- Django's side


class Noted:
    """What happened to a request that was cut off."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.closed = threading.Event()
        self.finished = threading.Event()

    def add(self, name: str) -> None:
        self.names.append(name)


noted = Noted()


async def hello_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello async")


def hello_sync(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"hello sync {request.META.get('REMOTE_ADDR')} {request.path} {request.is_secure()}")


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(sum(file.size or 0 for file in request.FILES.values()) or len(request.body)))


class Closing(StreamingHttpResponse):
    def close(self) -> None:
        noted.add("response.close")
        super().close()
        noted.closed.set()


async def stream(request: HttpRequest) -> HttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1000)
                await asyncio.sleep(0.001)
        finally:
            noted.add("generator")

    return Closing(parts())


async def slow(request: HttpRequest) -> HttpResponse:
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        noted.add("cancelled")
        noted.closed.set()
        raise
    return HttpResponse()


def broken(request: HttpRequest) -> HttpResponse:
    raise SystemExit("from a view")


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))


urlpatterns = [
    path("async", hello_async),
    path("sync", hello_sync),
    path("upload", upload),
    path("stream", stream),
    path("slow", slow),
    path("broken", broken),
    path("file", file),
]


@pytest.fixture
def django_worker() -> Iterator[Worker]:
    noted.__init__()  # type: ignore[misc]
    signals.request_finished.connect(_finished)
    try:
        with override_settings(ROOT_URLCONF=__name__), serving(get_asgi_application()) as worker:
            yield worker
    finally:
        signals.request_finished.disconnect(_finished)
        gc.collect()


def _finished(**named: Any) -> None:
    noted.add("request_finished")
    noted.finished.set()


def test_django_views(django_worker: Worker) -> None:
    """asgi.md Django 1, 6, 7: sync and async views, and a quiet lifespan."""
    client = django_worker.connect()
    reader = Reader(client)
    for _ in range(3):
        client.sendall(request("/async") + request("/sync"))
        assert reader.answer().body == b"hello async"
        assert reader.answer().body == b"hello sync 127.0.0.1 /sync False"
    client.sendall(request("/missing"))
    assert reader.answer().status == 404
    levels = [level for level, _, _ in django_worker.log.records]
    assert levels == ["info"]


def test_django_uploads(django_worker: Worker) -> None:
    """asgi.md Django 2, 11: with a length, chunked, and larger than is held in memory."""
    body = bytes(5 << 20)
    assert fetch(django_worker, request("/upload", "POST", body=bytes(1000))).body == b"1000"
    chunked = (
        request("/upload", "POST", headers="Transfer-Encoding: chunked\r\n") + b"5\r\nabcde\r\n0\r\n\r\n"
    )
    assert fetch(django_worker, chunked).body == b"5"
    boundary = b"--b\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\n"
    data = boundary + body + b"\r\n--b--\r\n"
    head = request(
        "/upload", "POST", f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(data)}\r\n"
    )
    assert fetch(django_worker, head + data).body == str(len(body)).encode()


def test_django_files(django_worker: Worker) -> None:
    """asgi.md Django 9."""
    assert fetch(django_worker, request("/file")).body == Path(__file__).read_bytes()


def test_django_survives(django_worker: Worker) -> None:
    assert fetch(django_worker, request("/broken")).status == 500
    assert fetch(django_worker, request("/async")).status == 200


@pytest.mark.parametrize("reset", [True, False])
def test_django_cleans_up_after_a_stream(django_worker: Worker, reset: bool) -> None:
    """asgi.md Django 4, 5: generator, response.close() and request_finished, with nothing in the log."""
    client = django_worker.connect()
    client.sendall(request("/stream"))
    Reader(client).head()
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert noted.closed.wait(PATIENCE)
    assert noted.finished.wait(PATIENCE)
    django_worker.until(lambda: not django_worker.tasks.service.running)
    # Cancelled amid send(), the generator is left to the garbage collector and the loop's finalizer.
    django_worker.until(lambda: gc.collect() >= 0 and "generator" in noted.names)
    assert sorted(noted.names) == ["generator", "request_finished", "response.close"]
    assert django_worker.log.at("error", "warning") == []


def test_django_cancels_a_view(django_worker: Worker) -> None:
    """asgi.md Django 3, 4."""
    client = django_worker.connect()
    client.sendall(request("/slow"))
    django_worker.until(lambda: django_worker.row.in_flight == 1)
    client.close()
    assert noted.closed.wait(PATIENCE)
    django_worker.until(lambda: not django_worker.tasks.service.running)
    assert noted.names[0] == "cancelled"
    assert django_worker.log.at("error", "warning") == []


def test_django_does_not_speak_websocket(django_worker: Worker) -> None:
    """asgi.md Django 1: answered quietly."""
    client = django_worker.connect()
    client.sendall(
        request(
            headers="Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
    )
    assert Reader(client).answer().status == 403
    assert django_worker.log.at("error", "warning") == []


# ---------------------------------------------------------------- Starlette's side


class Passing(BaseHTTPMiddleware):
    """The middleware that is hardest on a server: it runs the application in a task group of its own."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-passed"] = "yes"
        return response


class App:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.background = threading.Event()
        self.over = threading.Event()
        self.endings: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/", self.hello),
                Route("/thread", self.in_thread),
                Route("/echo", self.echo, methods=["POST"]),
                Route("/stream", self.stream),
                Route("/background", self.with_background),
                Route("/file", self.file),
                Route("/fail", self.fail),
                WebSocketRoute("/ws", self.websocket),
                WebSocketRoute("/careless", self.careless),
            ],
            middleware=[Middleware(Passing)],
            lifespan=self.lifespan,
        )

    def lifespan(self, app: Starlette) -> Any:
        @contextlib.asynccontextmanager
        async def manager() -> AsyncIterator[dict[str, Any]]:
            yield {"pool": "a pool"}
            self.endings.append("lifespan")

        return manager()

    async def hello(self, request: Request) -> Response:
        return PlainTextResponse(f"hello {request.state.pool}")

    def in_thread(self, request: Request) -> Response:
        return PlainTextResponse(threading.current_thread().name)

    async def echo(self, request: Request) -> Response:
        return PlainTextResponse(await request.body())

    async def stream(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(1000)
                    await asyncio.sleep(0.001)
            finally:
                self.over.set()

        return StreamingResponse(parts())

    async def with_background(self, request: Request) -> Response:
        async def work() -> None:
            while not self.gate.is_set():
                await asyncio.sleep(0.005)
            self.background.set()

        return PlainTextResponse("ok", background=BackgroundTask(work))

    async def file(self, request: Request) -> Response:
        return StarletteFile(__file__)

    async def fail(self, request: Request) -> Response:
        raise RuntimeError("in a view")

    async def websocket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await websocket.receive_text() + "!")
        except WebSocketDisconnect as error:
            self.endings.append(f"{error.code} {error.reason}")
            self.over.set()

    async def careless(self, websocket: WebSocket) -> None:
        """As the framework's own examples have it: what ends the loop is nobody's concern."""
        await websocket.accept()
        while True:
            if await websocket.receive_text() == "fail":
                raise WebSocketDisconnect(4001)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture(params=["asyncio", "uvloop"])
def worker(request: pytest.FixtureRequest, app: App) -> Iterator[Worker]:
    with serving(app.app, asgi_loop=request.param) as running:
        yield running


def test_starlette_answers(worker: Worker, app: App) -> None:
    client = worker.connect()
    reader = Reader(client)
    for _ in range(3):
        client.sendall(request("/") + request("/echo", "POST", body=b"abc") + request("/thread"))
        got = reader.answer()
        assert (got.body, got["x-passed"]) == (b"hello a pool", "yes")
        assert reader.answer().body == b"abc"
        assert b"worker" in reader.answer().body.lower()
    assert fetch(worker, request("/file")).body == Path(__file__).read_bytes()
    assert fetch(worker, request("/missing")).status == 404
    worker.drain()
    assert worker.wait() == 0
    assert app.endings == ["lifespan"]
    assert worker.log.at("error", "warning") == []


def test_starlette_failures(worker: Worker) -> None:
    """Starlette answers 500 itself, and raises on so that the server may log."""
    assert fetch(worker, request("/fail")).status == 500
    worker.until(lambda: worker.log.at("error"))
    assert len(worker.log.at("error")) == 1


def test_starlette_streams_end_with_their_client(worker: Worker, app: App) -> None:
    client = worker.connect()
    client.sendall(request("/stream"))
    Reader(client).head()
    client.close()
    assert app.over.wait(PATIENCE)
    worker.until(lambda: not worker.tasks.service.running)
    assert worker.log.at("error", "warning") == []


def test_starlette_background_tasks(worker: Worker, app: App) -> None:
    client = worker.connect()
    reader = Reader(client)
    client.sendall(request("/background"))
    assert reader.answer().body == b"ok"
    client.sendall(request("/"))
    assert reader.answer().status == 200
    app.gate.set()
    assert app.background.wait(PATIENCE)


def test_starlette_websockets(worker: Worker, app: App) -> None:
    sock = socket.create_connection(worker.address, PATIENCE)
    with connect("ws://test/ws", sock=sock, proxy=None) as client:
        client.send("hi")
        assert client.recv(PATIENCE) == "hi!"
        client.close(4000, "enough")
    assert app.over.wait(PATIENCE)
    assert app.endings == ["4000 enough"]
    assert worker.log.at("error", "warning") == []


def test_starlettes_word_for_a_client_that_left_is_no_failure(worker: Worker) -> None:
    for last in ("bye", "fail"):
        sock = socket.create_connection(worker.address, PATIENCE)
        with connect("ws://test/careless", sock=sock, proxy=None) as client:
            client.send(last)
            if last == "fail":  # raised while the client is there it is one
                with pytest.raises(ConnectionClosed):
                    client.recv(PATIENCE)
        worker.until(lambda: not worker.tasks.service.running)
        assert len(worker.log.at("error", "warning")) == (last == "fail")
