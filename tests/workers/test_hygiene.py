"""What is put right before a fork. Each case in a process of its own, with the real libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


DJANGO = (
    "import tempfile, os\nfrom django.conf import settings\n"
    "settings.configure(DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3',"
    " 'NAME': os.path.join(tempfile.mkdtemp(), 'db')}})\nimport django\ndjango.setup()\n"
    "from django.db import connection, connections\n"
)


def test_nothing_is_imported_for_it() -> None:
    program = (
        "import sys; from arbiter.workers import hygiene; print(hygiene.tidy(), 'django' in sys.modules)"
    )
    assert run(program) == "[] False"


def test_djangos_connections_are_closed_and_named() -> None:
    program = DJANGO + (
        "connection.cursor().execute('select 1')\nfrom arbiter.workers import hygiene\n"
        "print(hygiene.tidy(), connection.connection, hygiene.tidy())\n"
        "print(connection.cursor().execute('select 2').fetchone())"
    )
    assert run(program) == (
        "[\"closed the database connection 'default' that was opened at import\"] None []\n(2,)"
    )


def test_an_unconfigured_django_is_left_alone() -> None:
    assert run("import django.db\nfrom arbiter.workers import hygiene\nprint(hygiene.tidy())") == "[]"


def test_asgirefs_thread_is_ended_and_made_anew() -> None:
    pytest.importorskip("asgiref")
    program = (
        "import asyncio, threading\nfrom asgiref.sync import sync_to_async\n"
        "from arbiter.workers import hygiene\n"
        "name = sync_to_async(lambda: threading.current_thread() is threading.main_thread())\n"
        "async def ask(): return await name()\n"
        "asyncio.run(ask())\nbefore = threading.active_count()\n"
        "done = hygiene.tidy()\nprint(before > 1, done, threading.active_count(), asyncio.run(ask()))"
    )
    assert run(program) == 'True ["ended asgiref\'s thread"] 1 False'
