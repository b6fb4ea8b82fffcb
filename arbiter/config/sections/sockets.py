"""Where arbiter listens.

Neighbours: `config.table` collects it; `supervisor.listeners` acts on it. Its one rule: see `config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Listing, YesNo
from arbiter.config.network import Bind
from arbiter.config.quantities import Integer
from arbiter.config.setting import Effect, Setting

TITLE: Final = "Sockets"

SETTINGS: Final = (
    Setting(
        "bind",
        Listing(Bind()),
        "127.0.0.1:8000",
        "Addresses to listen on: `HOST:PORT`, `:PORT` (every IPv4 address), `[v6]:PORT`, `unix:PATH`, "
        "`unix:@NAME` (abstract), `fd://N`. A list, or the flag repeated. If the environment has `PORT` "
        "and nothing else says where to listen, the default is `0.0.0.0:$PORT`. Sockets passed by "
        "systemd take the place of all.",
        flags=("-b", "--bind"),
        effect=Effect.REBIND,
    ),
    Setting(
        "backlog",
        Integer(),
        2048,
        "How many connections the kernel may hold that no worker has accepted yet. The kernel's own bound "
        "(`net.core.somaxconn`) is in force below it.",
        flags=("--backlog",),
        effect=Effect.REBIND,
        least=1,
        most=65535,
    ),
    Setting(
        "reuse_port",
        YesNo(),
        False,
        "Set `SO_REUSEPORT`, so that another server may listen on the same TCP address.",
        flags=("--reuse-port",),
        effect=Effect.REBIND,
    ),
)
