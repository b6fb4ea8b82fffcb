"""Loading the application once, in a mold that workers are forked from.

Neighbours: `config.table` collects it; `workers.mold` and `supervisor.molding` act on it. Its one rule: see
`config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Choice, Listing, YesNo
from arbiter.config.quantities import Duration
from arbiter.config.setting import Effect, Setting
from arbiter.config.warmup import Preload, WarmUp

TITLE: Final = "Preloading"

SETTINGS: Final = (
    Setting(
        "preload_app",
        Preload(),
        "auto",
        "Load the application once, in a process that serves nobody (the mold), and fork workers from it: "
        "they share its memory, start in milliseconds, and one that dies is replaced by the code that was "
        "running, whatever lies on disk. Every reload makes a new mold. `auto` does so unless the "
        "application holds something that does not survive a fork (docs/fork-safety.md), which the log then "
        "names; `True` does so even then, with a warning; `False` lets every worker load it by itself.",
        flags=("--preload",),
    ),
    Setting(
        "warmup_paths",
        Listing(WarmUp(), empty=True),
        "",
        "Paths, or URLs whose host and scheme the application is to see, that the mold asks the application "
        "for before the first worker is forked, so that what is loaded on the first request is shared. An "
        "answer of 500 or above fails the start or the reload, one of 4xx is told in the log. A path may "
        'stand there several times, as in `["/", "/api/"] * 8`: code that has run some times is specialised '
        "by the interpreter, which is then shared, too.",
        flags=("--warmup-path",),
    ),
    Setting(
        "memory_merge",
        YesNo(),
        False,
        "Have the kernel look for pages of memory that molds and workers have with the same content, and "
        "keep one copy (KSM, Linux 6.4 and newer): what they stop sharing as they run, most of which is "
        "only counted differently for a moment, is shared again when they rest. The kernel spends some "
        "processor time on that. Whoever else on the machine has their memory merged could find out, by "
        "timing, whether a page that they know is in yours, or in that of a program that your application "
        "starts. It needs `echo 1 > /sys/kernel/mm/ksm/run`; the log says if that is missing.",
        flags=("--memory-merge",),
    ),
    Setting(
        "django_check",
        Choice("off", "default", "deploy", meanings={"": "off", "false": "off", "true": "default"}),
        "off",
        "Run Django's system checks in the mold: `default`, or `deploy` with those of `check --deploy`. "
        "Errors fail the start or the reload, warnings go to the log.",
        flags=("--django-check",),
    ),
    Setting(
        "rollback_keep",
        Duration(),
        300,
        "Seconds for which a reload keeps the mold of the generation it replaces, asleep, so that "
        "`arbiterctl rollback` can bring that generation back at once. 0: not at all.",
        flags=("--rollback-keep",),
        effect=Effect.IN_PLACE,
        least=0,
    ),
)
