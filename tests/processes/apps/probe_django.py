"""A Django site in one file, for both interfaces; what happens to requests is written to `happened`.

/file?NAME        a FileResponse of that file
/stream?N         N parts from a generator (under ASGI an asynchronous one)
/endless?NAME     parts without end, until somebody closes the generator
/late             parts, then an exception
/boom             an exception
/where            path, path_info, script name, and what reverse() makes of it
/upload           name, size, digest and class of every file of a multipart form
/raw              length and digest of the body, read in parts
/wait?NAME        an async view that waits for its cancellation (WSGI: answers at once)
"""

import asyncio
import hashlib
import os
from pathlib import Path

import django
from django.conf import settings

HERE = Path(__file__).parent
MOUNTED = os.environ.get("PROBE_SCRIPT_NAME")

settings.configure(
    DEBUG=False,
    SECRET_KEY="of no value",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    **({"FORCE_SCRIPT_NAME": MOUNTED} if MOUNTED else {}),
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402  (Django wants its settings first)
from django.core.handlers.asgi import ASGIRequest  # noqa: E402
from django.core.signals import request_finished, request_started  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path, reverse  # noqa: E402


def happen(what):
    with (HERE / "happened").open("a") as file:
        file.write(what + "\n")


def on_started(**_):
    happen("started")


def on_finished(**_):
    happen("finished")


request_started.connect(on_started)
request_finished.connect(on_finished)


class Noted(StreamingHttpResponse):
    """Says when it is closed."""

    def close(self):
        happen("closed")
        super().close()


def file(request):
    return FileResponse((HERE / request.META["QUERY_STRING"]).open("rb"))


def parts(request, number, then=None, name=""):
    """A generator of the kind that suits the interface."""
    if isinstance(request, ASGIRequest):

        async def generate():
            try:
                sent = 0
                while number is None or sent < number:
                    yield b"part %d\n" % sent
                    sent += 1
                    await asyncio.sleep(0 if number else 0.005)
                if then is not None:
                    raise then
            finally:
                if name:
                    happen(f"ended {name}")

        return generate()

    def generate_now():
        try:
            sent = 0
            while number is None or sent < number:
                yield b"part %d\n" % sent
                sent += 1
            if then is not None:
                raise then
        finally:
            if name:
                happen(f"ended {name}")

    return generate_now()


def stream(request):
    return Noted(parts(request, int(request.META["QUERY_STRING"])))


def endless(request):
    return Noted(parts(request, None, name=request.META["QUERY_STRING"]))


def late(request):
    return Noted(parts(request, 3, then=RuntimeError("after three parts")))


def boom(request):
    raise RuntimeError("boom")


def where(request):
    return JsonResponse(
        {
            "path": request.path,
            "path_info": request.path_info,
            "script_name": request.META.get("SCRIPT_NAME"),
            "reverse": reverse("where"),
            "absolute": request.build_absolute_uri("x"),
        }
    )


def upload(request):
    told = []
    for one in request.FILES.values():
        digest = hashlib.sha256()
        for chunk in one.chunks():
            digest.update(chunk)
        told.append([one.name, one.size, digest.hexdigest(), type(one).__name__])
    return JsonResponse({"files": told})


def raw(request):
    digest, length = hashlib.sha256(), 0
    while data := request.read(65536):
        digest.update(data)
        length += len(data)
    return JsonResponse({"length": length, "sha256": digest.hexdigest()})


async def wait(request):
    name = request.META["QUERY_STRING"]
    if not isinstance(request, ASGIRequest):
        return HttpResponse("only an ASGI server can cancel it")
    happen(f"waiting {name}")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        happen(f"cancelled {name}")
        raise


urlpatterns = [
    path(view.__name__, view, name=view.__name__)
    for view in (file, stream, endless, late, boom, where, upload, raw, wait)
]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
