"""What Django loads only when a request comes: the URLconf with every view, backends, template engines.

Neighbours: a mold asks for it after the application is loaded, before it is examined and forked. Its one
rule: a URLconf that cannot be loaded answers no request and stops the generation; anything else that fails
does so again, and is told, where it is used.

Without it a worker would load all that by itself at its first request: later, into memory of its own, and
from what lies on disk by then, which need not be the code that its mold holds.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any

from arbiter.application import own_traceback
from arbiter.errors import AppError


def load() -> None:
    """Load it, if the application is one of Django's. Raises `AppError` for a URLconf that fails."""
    apps = sys.modules.get("django.apps")
    if apps is None or not apps.apps.ready:
        return
    settings: Any = importlib.import_module("django.conf").settings
    urlconf = getattr(settings, "ROOT_URLCONF", None)
    if urlconf:
        resolvers: Any = importlib.import_module("django.urls")
        try:
            _visit(resolvers.get_resolver())
        except Exception as error:
            problem = f"Django's URLconf {urlconf!r} cannot be loaded: {type(error).__name__}: {error}"
            raise AppError(problem, own_traceback(error)) from None
    for alias in settings.DATABASES:
        with contextlib.suppress(Exception):
            engine = settings.DATABASES[alias]["ENGINE"]
            importlib.import_module("django.db.utils").load_backend(engine)
            importlib.import_module("django.db.models.sql.compiler")
    with contextlib.suppress(Exception):
        for backend in importlib.import_module("django.template").engines.all():
            if hasattr(backend, "engine"):  # Django's own, not Jinja's
                _ = backend.engine.template_loaders, backend.engine.template_context_processors


def _visit(resolver: Any) -> None:
    """Import what the patterns name, and what is included."""
    for pattern in resolver.url_patterns:
        if hasattr(pattern, "url_patterns"):
            _visit(pattern)
