"""arbiter as a process of the system: its user, its name, its files.

Neighbours: `config.table` collects it; `supervisor` acts on it. Its one rule: see `config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Text, YesNo
from arbiter.config.setting import Effect, Setting
from arbiter.config.system import Group, Path, Umask, User

TITLE: Final = "Process"

SETTINGS: Final = (
    Setting(
        "proc_name",
        Text(),
        None,
        "The name in process titles: `arbiter: master [name]`, `arbiter: worker 3 [name]`.",
        flags=("-n", "--name"),
        effect=Effect.IN_PLACE,
        derived="the application's name",
    ),
    Setting(
        "daemon",
        YesNo(),
        False,
        "Go to the background. Under systemd or in a container leave it off.",
        flags=("-D", "--daemon"),
        effect=Effect.RESTART,
    ),
    Setting(
        "pidfile",
        Path(),
        None,
        "A file that holds arbiter's process id while it runs.",
        flags=("-p", "--pid"),
        effect=Effect.UPGRADE,
        unset="none is written",
    ),
    Setting(
        "user",
        User(),
        None,
        "The user workers run as, by name or number; arbiter must be started as root.",
        flags=("-u", "--user"),
        derived="the user that starts arbiter",
    ),
    Setting(
        "group",
        Group(),
        None,
        "The group workers run as, by name or number.",
        flags=("-g", "--group"),
        derived="the group that starts arbiter",
    ),
    Setting(
        "initgroups",
        YesNo(),
        False,
        "Give workers all groups that `user` belongs to, not only `group`.",
        flags=("--initgroups",),
    ),
    Setting(
        "umask",
        Umask(),
        None,
        "The mode bits that files of the workers, and unix sockets, are made without: `0o007` lets only "
        "user and group connect to a unix socket. gunicorn's default of 0 leaves every file the application "
        "makes writable for all; here that has to be asked for.",
        flags=("-m", "--umask"),
        unset="files are made as the umask arbiter was started with has it, and anybody may connect to a "
        "unix socket",
    ),
    Setting(
        "worker_tmp_dir",
        Path(),
        None,
        "Accepted for gunicorn's sake and not needed: workers show that they live through shared memory, "
        "so there is no file that a slow disk could delay.",
        flags=("--worker-tmp-dir",),
        effect=Effect.NOTHING,
        unset="not used",
    ),
)
