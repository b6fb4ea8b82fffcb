"""How operators see and steer a running arbiter: the control socket, metrics and health, statsd.

Neighbours: `config.table` collects it; `supervisor.plane`, `supervisor.exporter` and `observe.statsd` act on
it. Its one rule: see `config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Listing, Text, YesNo
from arbiter.config.network import Bind
from arbiter.config.operators import Mode, Principal, Statsd
from arbiter.config.quantities import Integer
from arbiter.config.setting import Effect, Setting
from arbiter.config.system import Path

TITLE: Final = "Control and metrics"

SETTINGS: Final = (
    Setting(
        "control_socket",
        Path(),
        None,
        "The unix socket that `arbiterctl` talks to. Unset, it is `NAME.ctl` (see `proc_name`) in the first "
        "of these: systemd's RUNTIME_DIRECTORY; the directory of `pidfile`; `arbiter` in XDG_RUNTIME_DIR or "
        "/run/user/UID; /run/arbiter for root, a private directory in /tmp for others. `arbiterctl` looks in "
        "the same places. A socket that cannot be made is a warning: everything else goes on.",
        flags=("--control-socket",),
        effect=Effect.UPGRADE,
        unset="found by itself",
    ),
    Setting(
        "control_socket_mode",
        Mode(),
        0o600,
        "The permissions of the control socket. Whom they let in, `control_observers`, `control_operators` "
        "and `control_admins` must name too; anybody else is told to go away.",
        flags=("--control-socket-mode",),
        effect=Effect.UPGRADE,
    ),
    Setting(
        "control_socket_disable",
        YesNo(),
        False,
        "Have no control socket. Signals still do what they do.",
        flags=("--no-control-socket",),
        effect=Effect.UPGRADE,
    ),
    Setting(
        "control_observers",
        Listing(Principal(), empty=True),
        (),
        "Users and @groups that may look at a running arbiter with `arbiterctl`, and no more. The user that "
        "arbiter runs as, and root, may do everything; its own workers may only look, whoever they run as.",
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "control_operators",
        Listing(Principal(), empty=True),
        (),
        "Users and @groups that may also do what can be undone: reload, scale, recycle, drain, logs.",
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "control_admins",
        Listing(Principal(), empty=True),
        (),
        "Users and @groups that may also stop arbiter and kill workers.",
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "metrics_bind",
        Bind(),
        None,
        "Where arbiter itself answers `/metrics`, `/livez`, `/readyz` and `/startupz`, also while every "
        "worker hangs. Everybody who reaches the address may read them: keep it off the internet.",
        flags=("--metrics-bind",),
        effect=Effect.IN_PLACE,
        unset="nowhere",
    ),
    Setting(
        "min_ready",
        Integer(),
        1,
        "`/readyz` says yes while at least so many workers serve.",
        flags=("--min-ready",),
        effect=Effect.IN_PLACE,
        least=1,
        most=4096,
    ),
    Setting(
        "statsd_host",
        Statsd(),
        None,
        "A statsd to send to, with gunicorn's names: `gunicorn.requests`, `gunicorn.request.duration`, "
        "`gunicorn.request.status.200`, `gunicorn.workers`, `gunicorn.log.error` and so on.",
        flags=("--statsd-host",),
        unset="none",
    ),
    Setting(
        "statsd_prefix",
        Text(),
        "",
        "What to put before these names; a dot is added.",
        flags=("--statsd-prefix",),
    ),
    Setting(
        "dogstatsd_tags",
        Text(),
        "",
        "Tags to add, in Datadog's format, with commas between them: `site:shop,env:live`.",
        flags=("--dogstatsd-tags",),
    ),
    Setting(
        "enable_backlog_metric",
        YesNo(),
        False,
        "Send `gunicorn.backlog`, the connections that wait for a worker, to statsd.",
        flags=("--enable-backlog-metric",),
    ),
)
