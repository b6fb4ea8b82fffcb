"""What executing a configuration file leaves behind in this process, so that it can be taken back.

Neighbours: `file` takes one with every execution, `sources.Loader` undoes it before the next. Its one rule:
after `undo` the process is as if the file had never been executed; so a reload finds the environment, the
path and the helper modules fresh, and a refused one leaves everything as it was.

A module that the file imports stays loaded while the configuration is in force (its hooks use it, and so may
the workers), but is imported anew by the next load. Modules of the standard library and of installed packages
stay for good: they do not change under a running process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Final

_INSTALLED: Final = ("site-packages", "dist-packages")
_STANDARD: Final = os.path.dirname(os.__file__) + os.sep
_OWN: Final = __name__.partition(".")[0]


class Footprint:
    """Changes to `os.environ`, `sys.path` and `sys.modules`; empty until `taken`."""

    def __init__(self) -> None:
        self._environ: dict[str, tuple[str | None, str | None]] = {}
        self._path: list[str] = []
        self._modules: dict[str, ModuleType] = {}

    @contextmanager
    def taken(self, *importable: str) -> Iterator[None]:
        """Note what the body of the `with` statement changes; undo it if the body raises.

        importable: directories at the head of `sys.path` for the time of the body.
        """
        environ, modules = dict(os.environ), set(sys.modules)
        path = list(sys.path)
        lead = [directory for directory in importable if directory]
        bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        # Python tells stale byte code by whole seconds; a helper module edited twice in one would be missed.
        sys.path[:0] = lead
        try:
            yield
        except BaseException:
            self._note(environ, path, modules, lead)
            self.undo()
            raise
        else:
            self._note(environ, path, modules, lead)
        finally:
            sys.dont_write_bytecode = bytecode

    def undo(self) -> None:
        """Take the changes back."""
        for name, (old, _) in self._environ.items():
            _set(name, old)
        for directory in self._path:
            if directory in sys.path:
                sys.path.remove(directory)
        for name, module in self._modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]

    def redo(self) -> None:
        """Make them again."""
        for name, (_, new) in self._environ.items():
            _set(name, new)
        sys.path[:0] = [directory for directory in self._path if directory not in sys.path]
        sys.modules.update(self._modules)

    def _note(self, environ: Mapping[str, str], path: list[str], modules: set[str], lead: list[str]) -> None:
        for directory in lead:
            if directory in sys.path:
                sys.path.remove(directory)
        self._path = [directory for directory in sys.path if directory not in path]
        self._environ = {
            name: (environ.get(name), os.environ.get(name))
            for name in {*environ, *os.environ}
            if environ.get(name) != os.environ.get(name)
        }
        self._modules = {
            name: module
            for name, module in list(sys.modules.items())
            if name not in modules and _is_local(name, module)
        }


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _is_local(name: str, module: ModuleType) -> bool:
    """Whether a module is the operator's own, and pure Python, so that it can be imported again."""
    if name.partition(".")[0] == _OWN:
        return False
    places = [getattr(module, "__file__", None)]
    if places == [None]:
        places = [*getattr(module, "__path__", ())]
    return bool(places) and all(
        isinstance(place, str)
        and not place.startswith(_STANDARD)
        and not any(part in _INSTALLED for part in place.split(os.sep))
        and not place.endswith((".so", ".pyd"))
        for place in places
    )


def forget_listings() -> None:
    """Have the next import look into the directories of `sys.path` anew: their time stamps are coarse.

    What importlib.invalidate_caches() does to them. Python's own loads importlib.metadata and thirty modules
    more for it (3.13): 1.5 MiB of an arbiter.
    """
    sys.path_importer_cache.clear()
