"""What is done for the application before it is forked, so that it need not know of forks.

Neighbours: a mold calls `tidy` before it is examined and before each fork, and `refresh` runs in the new
worker. Its one rule: only what every fork needs and nobody misses: connections are closed, which their owners
open anew at the next use. A library that is not loaded is not imported.

CPython itself sees to the global generator of `random`, to the locks of `logging` and `threading`, and
OpenSSL to its own randomness.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


def tidy() -> list[str]:
    """Put right what can be; what was done, a phrase each."""
    return [*_django(), *_asgiref()]


def _django() -> Iterator[str]:
    database, cache = sys.modules.get("django.db"), sys.modules.get("django.core.cache")
    if database is not None:
        with contextlib.suppress(Exception):
            for connection in database.connections.all(initialized_only=True):
                yield from _connection(connection)
    if cache is not None:
        with contextlib.suppress(Exception):
            cache.caches.close_all()


def _connection(connection: Any) -> Iterator[str]:
    """Close one of Django's connections, and the pool it came from (whose threads then end)."""
    was_open = connection.connection is not None
    pooled = getattr(connection, "close_pool", None)
    with contextlib.suppress(Exception):
        connection.close()
    if pooled is not None:
        with contextlib.suppress(Exception):
            pooled()
    if was_open and connection.connection is None:
        yield f"closed the database connection {connection.alias!r} that was opened at import"


def _asgiref() -> Iterator[str]:
    """Replace the thread in which asgiref runs synchronous code: a fork of its pool would wait for it for
    ever.
    """
    sync = sys.modules.get("asgiref.sync")
    if sync is None:
        return
    with contextlib.suppress(Exception):
        used = sync.SyncToAsync.single_thread_executor
        if used._threads:
            used.shutdown(wait=True)
            sync.SyncToAsync.single_thread_executor = type(used)(max_workers=1)
            yield "ended asgiref's thread"


def refresh() -> None:
    """In a worker: what siblings must not have in common."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:  # its global generator, unlike that of the standard library, does not notice a fork
        with contextlib.suppress(Exception):
            numpy.seed()
