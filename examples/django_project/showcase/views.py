"""One view for each thing a server can get wrong: templates, async, streams, uploads, slowness."""

import asyncio
import hashlib
import itertools
import os
import time

import django
from django import forms
from django.http import HttpResponseBadRequest, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from .models import Note

_served = itertools.count(1)
_MOST_SECONDS = 30.0
_MOST_PARTS = 1000


def worker(request):
    """Who answers: the process, and how arbiter calls the application in it."""
    if hasattr(request, "scope"):
        kind = "asgi"
    else:
        kind = "threaded" if request.environ["wsgi.multithread"] else "sync"
    return {"pid": os.getpid(), "arbiter": os.getppid(), "kind": kind, "served": next(_served)}


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ["author", "text"]


@require_http_methods(["GET", "HEAD", "POST"])
def index(request):
    """The page; a POST signs the guest book."""
    who = worker(request)
    form = NoteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        note = form.save(commit=False)
        note.worker = f"{who['kind']} {who['pid']}"
        note.save()
        return redirect("/#book")
    context = {"worker": who, "form": form, "notes": Note.objects.all()[:8], "django": django.get_version()}
    return render(request, "showcase/index.html", context, status=400 if form.errors else 200)


@require_GET
def whoami(request):
    """pid, kind and count of the worker that answers; the page asks this twice a second."""
    response = JsonResponse(worker(request))
    response["Cache-Control"] = "no-store"
    return response


@require_GET
async def gather(request):
    """An async view: three waits at once take as long as one; then a query through the async ORM."""
    await asyncio.gather(*(asyncio.sleep(0.05) for _ in range(3)))
    return JsonResponse({**worker(request), "notes": await Note.objects.acount()})


def _number(request, name, default, most):
    try:
        return min(max(float(request.GET.get(name, default)), 0.0), most)
    except ValueError:
        return default


def _parts(request):
    """How many parts a stream has and the seconds between them (?parts=10&pause=0.2)."""
    return int(_number(request, "parts", 10, _MOST_PARTS)), _number(request, "pause", 0.2, 5.0)


def _part(number, count):
    return f"part {number} of {count} from worker {os.getpid()}\n"


@require_GET
def stream_sync(request):
    """A stream from an ordinary generator: for WSGI (under ASGI, Django collects it whole first)."""
    count, pause = _parts(request)

    def parts():
        for number in range(1, count + 1):
            yield _part(number, count)
            time.sleep(pause)

    return StreamingHttpResponse(parts(), content_type="text/plain; charset=utf-8")


@require_GET
async def stream_async(request):
    """A stream from an async generator: for ASGI (under WSGI, Django collects it whole first)."""
    count, pause = _parts(request)

    async def parts():
        for number in range(1, count + 1):
            yield _part(number, count)
            await asyncio.sleep(pause)

    return StreamingHttpResponse(parts(), content_type="text/plain; charset=utf-8")


@require_POST
def upload(request):
    """Files of a form: already in temporary files when the view runs, hashed here part by part."""
    files = request.FILES.getlist("file")
    if not files:
        return HttpResponseBadRequest("send a form with a field named file\n", content_type="text/plain")
    results = []
    for file in files:
        digest = hashlib.sha256()
        for chunk in file.chunks():
            digest.update(chunk)
        results.append({"name": file.name, "size": file.size, "sha256": digest.hexdigest()})
    return JsonResponse({**worker(request), "files": results})


@csrf_exempt
@require_http_methods(["PUT", "POST"])
def upload_raw(request):
    """A body of any size, read as it comes: `curl -T big.iso http://127.0.0.1:8000/upload/raw/`."""
    digest, size = hashlib.sha256(), 0
    while chunk := request.read(65536):
        digest.update(chunk)
        size += len(chunk)
    return JsonResponse({**worker(request), "size": size, "sha256": digest.hexdigest()})


@require_GET
def slow(request):
    """Holds the worker (?seconds=3): reload or stop the server meanwhile, and it is answered all the same."""
    time.sleep(_number(request, "seconds", 3.0, _MOST_SECONDS))
    return JsonResponse({**worker(request), "slow": True})


@require_GET
async def slow_async(request):
    """Slow without holding anything: an asgi worker answers others meanwhile."""
    await asyncio.sleep(_number(request, "seconds", 3.0, _MOST_SECONDS))
    return JsonResponse({**worker(request), "slow": True})
