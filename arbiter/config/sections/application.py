"""What is served, and the surroundings it finds.

Neighbours: `config.table` collects it; `arbiter.application` acts on it. Its one rule: see `config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import App, Listing, Name, Text, YesNo
from arbiter.config.setting import Effect, Setting
from arbiter.config.system import Path, Variables

TITLE: Final = "Application"

SETTINGS: Final = (
    Setting(
        "config",
        Text(),
        None,
        "The configuration file: `PATH`, `file:PATH`, or `python:MODULE` for a module on the path. "
        "Without it `./arbiter.conf.py` is read if it is there; `-c ''` reads none. The file is Python, "
        "executed afresh at every reload, with its own directory importable.",
        flags=("-c", "--config"),
        effect=Effect.NOTHING,
        unset="`./arbiter.conf.py` if it is there",
        in_file=False,
    ),
    Setting(
        "wsgi_app",
        App(),
        None,
        "The application to serve, the argument `APP` of the command: `module:attribute`, "
        '`module:factory("literal", arguments=1)`, or `module` for its attribute `application` or else '
        "`app`. WSGI and ASGI are told apart by looking at it.",
        aliases=("app",),
        derived="must be given, here or as the argument `APP`",
    ),
    Setting(
        "django_settings",
        Name(),
        None,
        "The value of `DJANGO_SETTINGS_MODULE` for the workers. A variable given by `-e` or "
        "`--django-settings` on the command line comes first, then the environment, then the "
        "configuration file (`raw_env`, this setting, `env_file`), and last whatever the project's own "
        "`asgi.py` or `wsgi.py` sets.",
        flags=("--django-settings",),
        unset="left to the environment and the project",
    ),
    Setting(
        "chdir",
        Path(),
        None,
        "The directory workers run in; it is importable, and relative paths in other settings start there. "
        "A symbolic link is followed anew at every reload.",
        flags=("--chdir",),
        derived="the directory arbiter was started in",
    ),
    Setting(
        "pythonpath",
        Listing(Path(), empty=True),
        "",
        "More directories to import from, before those Python has; relative ones start at `chdir`.",
        flags=("--pythonpath",),
    ),
    Setting(
        "raw_env",
        Variables(),
        {},
        "Environment variables for the workers: a list of `NAME=value`, or a dict. Sources add up, name "
        "by name, and a stronger one overrides a weaker. They override the environment arbiter was "
        "started in; only `DJANGO_SETTINGS_MODULE` from the file does not (see `django_settings`).",
        flags=("-e", "--env"),
    ),
    Setting(
        "env_file",
        Path(),
        None,
        "A file of `NAME=value` lines (comments, quotes and `export` are understood), read at the start "
        "and at every reload. The environment arbiter was started in is stronger, and so is `raw_env`.",
        flags=("--env-file",),
        unset="none is read",
    ),
    Setting(
        "check_config",
        YesNo(),
        False,
        "Check the configuration, import the application, say what is wrong, and exit.",
        flags=("--check-config",),
        effect=Effect.NOTHING,
    ),
    Setting(
        "print_config",
        YesNo(),
        False,
        "Print every setting with its value and where the value came from, and exit.",
        flags=("--print-config",),
        effect=Effect.NOTHING,
    ),
)
