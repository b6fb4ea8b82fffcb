"""The table as people read it: the reference page, a complete configuration file, `--print-config`.

Neighbours: `table` is rendered, `cli` prints; `options` renders the command line. Its one rule: nothing is
said here that a declaration does not say.

`python -m arbiter.config.render --write` writes the files that are made from the table into a checkout:
docs/settings.md, configs/full.conf.py and arbiter/config/attributes.py.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from arbiter.config.gunicorn import FOREIGN
from arbiter.config.hook import Hook
from arbiter.config.setting import Setting
from arbiter.config.snapshot import Config, Entry
from arbiter.config.system import show_variable
from arbiter.config.table import SECTIONS, Section

_EFFECTS: Final = {
    "nothing": "used at the start only",
    "in_place": "in force at once",
    "workers": "with the new workers",
    "rebind": "listeners are opened and closed as needed",
    "upgrade": "only by an upgrade in place, or a restart",
    "restart": "only by a restart",
}


# ---------------------------------------------------------------- --print-config


def print_config(config: Config) -> str:
    """Every setting that is not an unset hook, as `name = value  # origin`, by section; then the variables.

    What the operator wrote is added when it reads differently ("2m" for 120). Values that may be secrets are
    not shown.
    """
    lines: list[str] = []
    entries = dict(config.items())
    for section in SECTIONS:
        lines += ["", f"# {section.title}"]
        for setting in section.settings:
            entry = entries[setting.name]
            if isinstance(setting.kind, Hook) and entry.value is None:
                continue
            written = f", written {entry.written!r}" if _reads_differently(entry) else ""
            lines.append(f"{setting.name:<26} = {entry.show():<24} # {entry.origin}{written}")
    lines += ["", "# Environment of the workers, over arbiter's own"]
    for variable in config.variables:
        lines.append(f"# {variable.name}={show_variable(variable.name, variable.value)} ({variable.origin})")
    return "\n".join(lines[1:])


def _reads_differently(entry: Entry) -> bool:
    """Whether a number was written as a text that one would not recognise in it: "2m", "auto"."""
    written = entry.written
    number = isinstance(entry.value, int | float) and not isinstance(entry.value, bool)
    return number and isinstance(written, str) and written not in entry.show().split('"')


# ---------------------------------------------------------------- docs/settings.md

_PREFACE: Final = """\
# Settings

<!-- Made from arbiter/config/sections by `python -m arbiter.config.render --write`. -->

A value comes from, the weakest first: the default, the configuration file, the environment, the variable
`ARBITER_CMD_ARGS` (words of a command line), the command line. Of several sources the strongest wins;
the entries of `raw_env` add up. `arbiter --print-config` shows every value and where it came from.

All that is given is checked, and all faults are told at once, each with its place and its remedy; the
exit status is then 78. A reload that is refused changes nothing.

## The configuration file

It is Python: `arbiter -c conf.py`, or `./arbiter.conf.py` when it is there. It is executed afresh at the
start and at every reload, with its own directory importable, and so are the modules beside it that it
imports. `./gunicorn.conf.py` is only read when it is named.

A name in it is a **setting** if it is lower-case, does not begin with `_`, holds a plain value, and is
not used anywhere else in the file. So `cores = 4` followed by `workers = cores * 2` is fine, and
`workerz = 4` is refused with the nearest name that exists. What is imported, a class, a helper function,
a loop variable or in CAPITALS is no setting.

## Values

| kind | as one writes it |
| --- | --- |
| duration | seconds: `30`, `1.5`; as text also `"500ms"`, `"2m"`, `"1h"` |
| size | bytes: `65536`; as text also `"64K"`, `"1M"`, `"2G"` (powers of 1024) |
| address | `HOST:PORT`, `:PORT`, `[v6]:PORT`, `unix:PATH`, `unix:@NAME`, `fd://N` |
| list | a list in the file; with commas as text; the flag repeated on the command line |
| yes or no | `True`, `False`; as text `yes`, `no`, `on`, `off`, `1`, `0`; `--flag`, `--no-flag` |
| path | relative ones start at `chdir` |
"""


def reference() -> str:
    """The page docs/settings.md."""
    parts = [_PREFACE]
    for section in SECTIONS:
        parts.append(f"## {section.title}\n")
        parts += [_paragraph(setting) for setting in section.settings]
    parts.append(_foreign())
    return "\n".join(parts)


def _paragraph(setting: Setting) -> str:
    lines = [f"### `{setting.name}`", "", *_wrap(setting.text, 110), ""]
    lines += [f"- {fact}" for fact in _facts(setting)]
    return "\n".join([*lines, ""])


def _facts(setting: Setting) -> Iterator[str]:
    """What else the reference page says of a setting."""
    if isinstance(setting.kind, Hook):
        yield f"`{setting.kind.signature(setting.name)}`"
        return
    if setting.flags:
        value = "" if setting.kind.switch else f" {setting.kind.metavar}"
        yield f"command line: {', '.join(f'`{flag}{value}`' for flag in setting.flags)}"
    if setting.aliases:
        yield f"also called {', '.join(f'`{alias}`' for alias in setting.aliases)}"
    if setting.environment:
        yield f"environment: {', '.join(f'`{variable}`' for variable in setting.environment)}"
    yield f"default: {_default(setting)}"
    if setting.bounds:
        yield f"bounds: {setting.bounds}"
    yield f"after a reload: {_EFFECTS[setting.effect.value]}"


def _default(setting: Setting) -> str:
    if setting.default is None:
        return setting.derived or setting.unset
    return f"`{setting.show(setting.read(setting.default))}`"


def _foreign() -> str:
    rows = [
        f"| `{name}` | {'accepted' if foreign.harmless else 'refused'} | {foreign.note} |"
        for name, foreign in FOREIGN.items()
    ]
    head = [
        "## Settings of gunicorn that arbiter does not have",
        "",
        "One that has gunicorn's default is accepted. One marked *accepted* gets a note in the log.",
        "",
        "| setting | | |",
        "| --- | --- | --- |",
    ]
    return "\n".join([*head, *rows, ""])


# ---------------------------------------------------------------- configs/full.conf.py


def full_file() -> str:
    """A configuration file with every setting at its default, commented out, and what each is for."""
    lines = [
        '"""Every setting with its default, commented out: a file to copy lines from.',
        "",
        "Made from arbiter/config/sections by `python -m arbiter.config.render --write`; the reference with",
        'flags and environment variables is docs/settings.md."""',
        "",
        '# wsgi_app = "myproject.asgi:application"',
    ]
    for section in SECTIONS:
        lines += ["", "", f"# {'-' * 20} {section.title}"]
        for setting in section.settings:
            lines += _commented(setting)
    return "\n".join([*lines, ""])


def _commented(setting: Setting) -> Iterable[str]:
    if not setting.in_file or setting.name == "wsgi_app":
        return
    yield ""
    yield from (f"# {line}" for line in _wrap(setting.text, 106))
    if isinstance(setting.kind, Hook):
        yield f"# {setting.kind.signature(setting.name)}"
        yield "#     ..."
    elif setting.default is None:
        yield f"# {setting.name} = None  # {setting.derived or setting.unset}".replace("`", "")
    else:
        line = f"{setting.name} = {setting.show(setting.read(setting.default))}"
        # Only a list or a dict is ever that long, and between its brackets a line may be broken.
        yield from (f"# {part}" for part in textwrap.wrap(line, 106, subsequent_indent="    "))


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


# ---------------------------------------------------------------- arbiter/config/attributes.py


def attributes() -> str:
    """The module that tells type checkers the attributes of `Config`."""
    lines = [
        '"""The types of the settings, for type checkers.',
        "",
        "Neighbours: `snapshot.Config` inherits it. Its one rule: made from the sections by",
        "`python -m arbiter.config.render --write`, never written by hand.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Callable, Mapping",
        "from typing import Any",
        "",
        "from arbiter.config.address import Address",
        "",
        "",
        "class Attributes:",
        '    """Every setting by its name and its aliases."""',
    ]
    for section in SECTIONS:
        lines += ["", f"    # {section.title}", *_annotations(section)]
    return "\n".join([*lines, ""])


def _annotations(section: Section) -> Iterator[str]:
    for setting in section.settings:
        for name in setting.names:
            yield f"    {name}: {setting.annotation}"


# ---------------------------------------------------------------- the files

GENERATED: Final[dict[str, Callable[[], str]]] = {
    "docs/settings.md": reference,
    "configs/full.conf.py": full_file,
    "arbiter/config/attributes.py": attributes,
}
"""Paths in a checkout, and what makes their text."""


def main(arguments: list[str], root: Path) -> int:
    """Say which generated files of the checkout at `root` are out of date; with --write, write them."""
    write = "--write" in arguments
    stale = []
    for name, make in GENERATED.items():
        path = root / name
        if not path.exists() or path.read_text(encoding="utf-8") != make():
            stale.append(name)
            if write:
                path.write_text(make(), encoding="utf-8")
    for name in stale:
        print(f"{'written' if write else 'out of date'}: {name}")
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).parents[2]))
