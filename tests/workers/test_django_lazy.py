"""What Django loads late is loaded in the mold. Each case in a process of its own, with the real Django."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SETTINGS = """
SECRET_KEY = "x"
ROOT_URLCONF = "urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
"""
URLS = 'from django.urls import include, path\nurlpatterns = [path("in/", include("inner"))]\n'
INNER = 'from django.urls import path\nimport views\nurlpatterns = [path("", views.index)]\n'
VIEWS = "def index(request): ...\n"
LOAD = "from arbiter.workers import django_lazy\ndjango_lazy.load()\nimport sys\n"
SETUP = "import django\ndjango.setup()\n"


def run(directory: Path, program: str, **modules: str) -> str:
    files = {"settings": SETTINGS, "urls": URLS, "inner": INNER, "views": VIEWS, **modules}
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        env={"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": ":".join(["", *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return (done.stdout + done.stderr).strip()


def test_views_backends_and_template_loaders_are_there(tmp_path: Path) -> None:
    names = ["views", "django.db.backends.sqlite3.base", "django.template.loaders.app_directories"]
    program = f"{SETUP}{LOAD}print([name for name in {names} if name not in sys.modules])"
    assert run(tmp_path, program) == "[]"


def test_nothing_is_imported_for_who_has_no_django(tmp_path: Path) -> None:
    assert run(tmp_path, f"{LOAD}print('django' in sys.modules)") == "False"


@pytest.mark.parametrize("urlconf", ["", "ROOT_URLCONF = None"])
def test_who_has_no_urlconf_needs_none(tmp_path: Path, urlconf: str) -> None:
    settings = SETTINGS.replace('ROOT_URLCONF = "urls"', urlconf)
    assert run(tmp_path, f"{SETUP}{LOAD}print('views' in sys.modules)", settings=settings) == "False"


def test_a_broken_urlconf_is_told_with_its_own_traceback(tmp_path: Path) -> None:
    program = (
        f"{SETUP}from arbiter.errors import AppError\nfrom arbiter.workers import django_lazy\n"
        "try: django_lazy.load()\nexcept AppError as error: print(error, error.traceback)"
    )
    told = run(tmp_path, program, views="raise LookupError('no such thing')\n")
    assert told.startswith("Django's URLconf 'urls' cannot be loaded: LookupError: no such thing")
    assert "views.py" in told
    assert "arbiter/workers/" not in told  # a clone may well be called arbiter


def test_what_else_fails_is_left_to_those_who_use_it(tmp_path: Path) -> None:
    settings = SETTINGS.replace("django.db.backends.sqlite3", "no.such.backend").replace(
        "django.template.backends.django.DjangoTemplates", "no.such.Engine"
    )
    assert run(tmp_path, f"{SETUP}{LOAD}print('views' in sys.modules)", settings=settings) == "True"
