"""What is logged, and where.

Neighbours: `config.table` collects it; `observe` acts on it. Its one rule: see `config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Choice, Dictionary, Listing, Text, YesNo
from arbiter.config.network import FieldName
from arbiter.config.quantities import Integer, Size
from arbiter.config.setting import Effect, Setting
from arbiter.config.system import Path
from arbiter.observe.atoms import DEFAULT
from arbiter.observe.syslog import FACILITIES, split

TITLE: Final = "Logging"


class UrlPath(Text):
    """The path of a URL, or with a star at its end all that begin with it."""

    noun = "a path"
    metavar = "PATH"
    example = 'paths such as "/healthz", or "/static/*" for all below'

    def read(self, value: object) -> str:
        path = super().read(value).strip()
        if not path.startswith("/") or "*" in path[:-1] or not path.isascii():
            raise self.wrong()
        return path


class SyslogAddress(Text):
    """Where a syslog daemon is; see `observe.syslog.split`."""

    noun = "an address of a syslog daemon"
    metavar = "ADDRESS"
    example = "unix:///dev/log, unix:///dev/log#stream, udp://HOST:PORT or tcp://HOST:PORT"

    def read(self, value: object) -> str:
        address = super().read(value).strip()
        try:
            split(address)
        except ValueError:
            raise self.wrong() from None
        return address


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
        DEFAULT,
        "A line of the access log. Atoms: h client, l -, u user, t date, r request line, m method, U "
        "path, q query, H protocol, s status, b or B length of the answer, f referer, a user agent, T, "
        "M, D or L duration (s, ms, us, s with decimals), p process, X why cut short, {name}i request "
        "field, {name}o answer field, {name}e environ variable. Or `json`: a JSON object "
        'per line, which is also what `log_format = "json"` makes of the default.',
        flags=("--access-logformat",),
    ),
    Setting(
        "log_format",
        Choice("text", "json"),
        "text",
        "How records of arbiter's own log look: text for people (in colour on a terminal, unless NO_COLOR is "
        "set), or a JSON object per line. docs/logging.md has the names of the events and their fields.",
        flags=("--log-format",),
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "access_log_exclude",
        Listing(UrlPath(), empty=True),
        (),
        "Paths whose requests are not in the access log: `/healthz`, or `/static/*` for all below.",
        flags=("--access-log-exclude",),
    ),
    Setting(
        "access_log_sample",
        Integer(),
        1,
        "Of how many requests one is in the access log, chosen by chance. Those that failed (5xx, cut short) "
        "always are.",
        flags=("--access-log-sample",),
        least=1,
        most=1_000_000,
    ),
    Setting(
        "access_log_buffer",
        Size(),
        "1M",
        "How much of the access log each worker keeps while it cannot be written (a full disk, a reader that "
        "does not read); what comes then is dropped, counted, and the count is logged.",
        flags=("--access-log-buffer",),
        least=64 << 10,
        most=1 << 30,
    ),
    Setting(
        "request_id_header",
        FieldName(),
        None,
        "The field that carries a request's id, such as `X-Request-ID`: what a trusted peer (see "
        "`forwarded_allow_ips`) sends in it is kept, else arbiter makes one. The application sees it as if "
        "the client had sent it; `%({x-request-id}i)s` and the JSON access log show it.",
        flags=("--request-id-header",),
        unset="requests get no id",
    ),
    Setting(
        "log_journald",
        YesNo(),
        True,
        "When standard error leads to systemd's journal (JOURNAL_STREAM) and `log_format` is text, speak the "
        "journal's own protocol, so that `journalctl ARBITER_EVENT=worker.died` finds records by their "
        "fields. Without it, or where it is not reached, lines begin with their priority (`<4>`).",
        flags=("--log-journald",),
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "syslog",
        YesNo(),
        False,
        "Send the log, and the access log too, to a syslog daemon.",
        flags=("--log-syslog",),
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "syslog_addr",
        SyslogAddress(),
        "udp://localhost:514",
        "Where that daemon is: `unix:///dev/log` (`#stream` or `#dgram` may follow), `udp://HOST:PORT`, "
        "`tcp://HOST:PORT`.",
        flags=("--log-syslog-to",),
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "syslog_prefix",
        Text(),
        None,
        "Messages are from `arbiter.PREFIX.error` and `arbiter.PREFIX.access`.",
        flags=("--log-syslog-prefix",),
        effect=Effect.IN_PLACE,
        unset="from `arbiter.error` and `arbiter.access`",
    ),
    Setting(
        "syslog_facility",
        Choice(*FACILITIES, meanings={"security": "auth"}),
        "user",
        "The facility of the messages, as in syslog(3).",
        flags=("--log-syslog-facility",),
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "disable_redirect_access_to_syslog",
        YesNo(),
        False,
        "Keep the access log out of syslog.",
        flags=("--disable-redirect-access-to-syslog",),
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "logconfig",
        Path(),
        None,
        "An ini file for `logging.config.fileConfig`; see `logconfig_dict`.",
        flags=("--log-config",),
        effect=Effect.IN_PLACE,
        unset="none",
    ),
    Setting(
        "logconfig_json",
        Path(),
        None,
        "A JSON file with what `logconfig_dict` takes.",
        flags=("--log-config-json",),
        effect=Effect.IN_PLACE,
        unset="none",
    ),
    Setting(
        "logconfig_dict",
        Dictionary(),
        {},
        "A configuration for `logging.config.dictConfig`. A logger it gives handlers to is the operator's, "
        'others stay as they are: "arbiter.error" is the log, "arbiter.access" the access log, and '
        '"gunicorn.error" and "gunicorn.access" mean the same. It counts before `logconfig_json`, and that '
        "before `logconfig`.",
        effect=Effect.IN_PLACE,
    ),
    Setting(
        "capture_output",
        YesNo(),
        False,
        "Put what workers print (standard output and error) into the log, a record for each line, with the "
        "worker's name.",
        flags=("--capture-output",),
    ),
)
