"""Django's system checks as a gate that a new generation has to pass.

Neighbours: a mold asks, for setting `django_check`. Its one rule: what Django calls an error stops the
generation, what it calls a warning is told; Django is never imported for an application that is none of its.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from arbiter.errors import AppError


def run(which: str, origin: str) -> list[str]:
    """Run the checks, those for deployment too if `which` is "deploy"; the warnings, a text each.

    origin: where the setting came from. Raises `AppError` with all errors.
    """
    apps = sys.modules.get("django.apps")
    if apps is None or not apps.apps.ready:
        raise AppError(
            f"django_check = {which!r} ({origin}): it is not an application of Django's. Remove the setting."
        )
    checks: Any = importlib.import_module("django.core.checks")
    found = checks.run_checks(include_deployment_checks=which == "deploy")
    told = [message for message in found if not message.is_silenced()]
    errors = [str(message) for message in told if message.is_serious()]
    if errors:
        count = "an error" if len(errors) == 1 else f"{len(errors)} errors"
        raise AppError("\n".join([f"Django's checks found {count}:", *(f"  {text}" for text in errors)]))
    return [str(message) for message in told if message.level >= checks.WARNING]
