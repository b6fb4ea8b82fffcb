"""The table of all settings.

Neighbours: `sections/*` declare them; `sources`, `options`, `render` and `snapshot` work through this table.
Its one rule: a name, alias, flag or variable means one setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Final

from arbiter.config.sections import (
    application,
    asgi,
    hooks,
    http,
    logging,
    observability,
    preload,
    process,
    proxies,
    sockets,
    supervision,
    workers,
)
from arbiter.config.setting import Setting


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter of the reference page."""

    title: str
    settings: tuple[Setting, ...]


def _section(module: ModuleType) -> Section:
    return Section(module.TITLE, module.SETTINGS)


SECTIONS: Final[tuple[Section, ...]] = tuple(
    _section(module)
    for module in (
        application,
        sockets,
        workers,
        preload,
        supervision,
        http,
        proxies,
        asgi,
        logging,
        observability,
        process,
        hooks,
    )
)

TABLE: Final[dict[str, Setting]] = {
    setting.name: setting for section in SECTIONS for setting in section.settings
}
"""Every setting by its name, in the order of the sections."""

BY_NAME: Final[dict[str, Setting]] = {name: setting for setting in TABLE.values() for name in setting.names}
"""Every setting by its name and by its aliases."""

APP: Final = "wsgi_app"
"""The setting that the argument of the command sets."""

HOOKS: Final[tuple[str, ...]] = tuple(setting.name for setting in hooks.SETTINGS)
"""The names of the hooks."""
