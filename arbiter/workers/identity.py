"""The worker's user, group and umask.

Neighbours: `process` assumes them, `supervisor.host` checks before the start that it will be possible. Its
one rule: after a drop nothing is left of the former privileges, and that is verified, not hoped.
"""

from __future__ import annotations

import os
import pwd

from arbiter.config.snapshot import Config
from arbiter.errors import IdentityError


def assume(config: Config) -> None:
    """Switch to `config.user`, `config.group` and `config.umask`. Raises `IdentityError`."""
    if config.umask is not None:
        os.umask(config.umask)
    uid, gid = config.user, config.group
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return
    try:
        if os.geteuid() == 0:
            _set_groups(uid, gid, config.initgroups)
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise IdentityError(
            f"user = {uid}, group = {gid}: cannot be switched to: {error.strerror}. "
            "Start arbiter as root, or leave both settings out."
        ) from error
    if uid != 0:
        _verify(uid)
    try:
        os.environ["HOME"] = pwd.getpwuid(uid).pw_dir
    except KeyError:
        os.environ.pop("HOME", None)


def _set_groups(uid: int, gid: int, initgroups: bool) -> None:
    if initgroups:
        try:
            os.initgroups(pwd.getpwuid(uid).pw_name, gid)
            return
        except KeyError:
            pass  # a number without a name has no further groups
    os.setgroups([gid])


def _verify(uid: int) -> None:
    """Root must be out of reach."""
    try:
        os.setuid(0)
    except OSError:
        pass
    if 0 in (os.getuid(), os.geteuid()):
        raise IdentityError(f"user = {uid}: privileges were not given up; the worker does not start.")
