"""`logconfig`, `logconfig_dict` and `logconfig_json`: the operator's own configuration of `logging`.

Neighbours: `logs` calls `apply` after it has set up its own handlers. Its one rule: a logger that the
configuration gives handlers to is the operator's, any other stays as arbiter has it.

Files written for gunicorn configure "gunicorn.error" and "gunicorn.access" and use the handlers "console" and
"error_console" and the formatter "generic" that gunicorn puts there; all of it means here what it means
there. What gunicorn adds and arbiter does not: handlers for the root logger. It is the application's.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any, Final, Protocol

from arbiter.errors import ConfigError, Fault

ERROR_LOGGER: Final = "arbiter.error"
ACCESS_LOGGER: Final = "arbiter.access"
_GUNICORN: Final = {ERROR_LOGGER: "gunicorn.error", ACCESS_LOGGER: "gunicorn.access"}


class LogConfig(Protocol):
    """The settings read here; the first that is set counts."""

    logconfig_dict: dict[str, Any]
    logconfig_json: str | None
    logconfig: str | None


def reset() -> None:
    """Take the loggers back: no handlers, no level, no propagation. Closes the handlers they had."""
    for name in (*_GUNICORN, *_GUNICORN.values()):
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers = []
        logger.propagate = False
        logger.disabled = False
        logger.setLevel(logging.NOTSET)


def apply(settings: LogConfig, formatter: type[logging.Formatter]) -> None:
    """Configure `logging` as the operator says. `formatter` is what "generic" means.

    Raises `ConfigError`; the loggers may then be in any state: `reset` and begin anew.
    """
    before = {name: list(logging.getLogger(name).handlers) for name in _GUNICORN}
    if settings.logconfig_dict:
        _configure("logconfig_dict", settings.logconfig_dict, formatter)
    elif settings.logconfig_json:
        _configure("logconfig_json", _read_json(settings.logconfig_json), formatter)
    elif settings.logconfig:
        _read_ini(settings.logconfig)
    else:
        return
    for name, theirs in _GUNICORN.items():
        logger, other = logging.getLogger(name), logging.getLogger(theirs)
        logger.disabled = False
        if other.handlers and logger.handlers == before[name]:
            logger.handlers, other.handlers = other.handlers, []
            logger.propagate = other.propagate
            logger.setLevel(other.level)


def _configure(setting: str, config: Mapping[str, Any], formatter: type[logging.Formatter]) -> None:
    # A megabyte that only those who use it should pay for.
    from logging.config import dictConfig

    console = {"class": "logging.StreamHandler", "formatter": "generic"}
    defaults = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"generic": {"()": formatter}},
        "handlers": {
            "console": {**console, "stream": "ext://sys.stdout"},
            "error_console": {**console, "stream": "ext://sys.stderr"},
        },
    }
    try:
        dictConfig({**defaults, **config})
    except Exception as error:  # whatever the classes it names raise
        raise _refused(setting, "", error) from error


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        if not isinstance(config, dict):
            raise ValueError("holds no JSON object")
        return config
    except (OSError, ValueError) as error:
        raise _refused("logconfig_json", repr(path), error) from error


def _read_ini(path: str) -> None:
    import configparser  # with the next one, for those who have such a file
    from logging.config import fileConfig

    defaults = {"__file__": path, "here": os.path.dirname(path)}
    try:
        with open(path, encoding="utf-8"):
            pass  # fileConfig says nothing of use about a file that is not there
        fileConfig(path, defaults=defaults, disable_existing_loggers=False)
    except (Exception, configparser.Error) as error:
        raise _refused("logconfig", repr(path), error) from error


def _refused(setting: str, value: str, error: BaseException) -> ConfigError:
    problem = str(error) if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {error}"
    if error.__cause__ is not None:
        problem = f"{problem}: {error.__cause__}"
    remedy = "Python's documentation of logging.config has the format."
    return ConfigError([Fault(setting, value, "", problem.rstrip("."), remedy)])
