"""What is logged, and where.

Neighbours: `config.table` collects it; `observe` acts on it. Its one rule: see `config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Choice, Dictionary, Text, YesNo
from arbiter.config.setting import Effect, Setting
from arbiter.config.system import Path

TITLE: Final = "Logging"

SETTINGS: Final = (
    Setting(
        "errorlog",
        Path(),
        "-",
        "The file of arbiter's own log; `-` is standard error. USR1 reopens it.",
        flags=("--log-file", "--error-logfile"),
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "loglevel",
        Choice(
            "debug",
            "info",
            "warning",
            "error",
            "critical",
            meanings={"warn": "warning", "fatal": "critical"},
        ),
        "info",
        "The least level of records in the log.",
        flags=("--log-level",),
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "accesslog",
        Path(),
        None,
        "The file of the access log, one line per request; `-` is standard output. USR1 reopens it.",
        flags=("--access-logfile",),
        effect=Effect.IN_PLACE,
        unset="no access log",
    ),
    Setting(
        "access_log_format",
        Text(),
        '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
        "A line of the access log. Atoms: h client, l -, u user, t date, r request line, m method, U "
        "path, q query, H protocol, s status, b or B length of the answer, f referer, a user agent, T, "
        "M, D or L duration (s, ms, us, s with decimals), p process, X why cut short, {name}i request "
        "field, {name}o answer field, {name}e environ variable.",
        flags=("--access-logformat",),
    ),
    Setting(
        "logconfig_dict",
        Dictionary(),
        {},
        "A configuration for `logging.config.dictConfig`, laid over arbiter's own; its loggers are "
        '"arbiter.error" and "arbiter.access".',
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "capture_output",
        YesNo(),
        False,
        "Send what workers print (standard output and error) to `errorlog`.",
        flags=("--capture-output",),
    ),
)
