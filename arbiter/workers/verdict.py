"""Why a worker or a mold cannot start, as its arbiter is told.

Neighbours: `process` and `mold` send it. Its one rule: an operator's or an application's fault is told in its
own words and with its own traceback, anything else with all there is.
"""

from __future__ import annotations

import traceback

from arbiter import application
from arbiter.errors import ExitStatus, OperatorError
from arbiter.link.channel import REPORT_LIMIT
from arbiter.link.messages import BootFailed


def failed(step: str, error: BaseException | str) -> BootFailed:
    """What to send when `step` of a start came to this end."""
    report, status = "", ExitStatus.BOOT
    if isinstance(error, OperatorError):
        problem, status = str(error), error.status
        report = getattr(error, "traceback", "")
    elif isinstance(error, ModuleNotFoundError) and (why := application.of_python(error.name or "")):
        problem = f"step {step}: {why}"  # a fault of the installation, met by arbiter's own imports
    elif isinstance(error, BaseException):
        problem = f"{type(error).__name__} in step {step}: {error}"
        report = "".join(traceback.format_exception(error))
    else:
        problem = error
    return BootFailed(step, problem, report[-REPORT_LIMIT:], status)
