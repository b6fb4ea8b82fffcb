"""Settings of gunicorn that arbiter does not have, and what to tell those who use them.

Neighbours: `sources` answers with these notes, `options` knows their flags. Its one rule: a setting is
refused only when leaving it out would change what the site does; what arbiter does anyway, or has no need of,
is accepted with a note in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Foreign:
    """One setting of gunicorn's.

    default: gunicorn's, which asks for nothing and is always accepted; note: a sentence; harmless: whether
    any value is accepted; flags: of the command line; switch: whether they take no value.
    """

    name: str
    default: object
    note: str
    harmless: bool = False
    flags: tuple[str, ...] = ()
    switch: bool = False


def _tls(name: str, default: object = None, flag: str = "", switch: bool = False) -> Foreign:
    note = "arbiter does not speak TLS yet. Let a proxy in front do it, and remove the line."
    return Foreign(name, default, note, flags=(flag,) if flag else (), switch=switch)


def _unneeded(name: str, note: str, *flags: str, switch: bool = False) -> Foreign:
    return Foreign(name, None, note, harmless=True, flags=flags, switch=switch)


def _strict(name: str) -> Foreign:
    note = "arbiter's parser makes no such exception: it would let requests be smuggled. Remove the line."
    return Foreign(name, False, note, flags=("--" + name.replace("_", "-"),), switch=True)


def _missing(name: str, default: object, note: str, *flags: str, switch: bool = False) -> Foreign:
    return Foreign(name, default, note, flags=flags, switch=switch)


_LOGGER: Final = (
    "such a class builds on the inside of gunicorn's. access_log_exclude leaves paths out, log_format and "
    "access_log_format make JSON, logconfig_dict takes any handler and formatter of logging's."
)
_HTTP2: Final = "arbiter does not speak HTTP/2 yet. A proxy in front can; remove the line."
_DIRTY: Final = "arbiter has no dirty workers. Run such an application as a service of its own."
RELOAD: Final = "arbiter does not watch files yet. Send it HUP: it reloads without losing a request."

FOREIGN: Final[dict[str, Foreign]] = {
    foreign.name: foreign
    for foreign in (
        _unneeded("http_parser", "arbiter has one parser.", "--http-parser"),
        _unneeded("default_proc_name", "the name is made from the application; see proc_name."),
        _unneeded("asgi_disconnect_grace_period", "arbiter does as the ASGI specification says."),
        _unneeded("enable_stdio_inheritance", "workers keep their output.", "-R", switch=True),
        _unneeded("reload_engine", RELOAD, "--reload-engine"),
        _missing("reload", False, RELOAD, "--reload", switch=True),
        _missing("reload_extra_files", [], RELOAD, "--reload-extra-file"),
        _missing("spew", False, "arbiter does not trace lines. Use a debugger.", "--spew", switch=True),
        _missing("paste", None, "arbiter does not read paste files. Name the application.", "--paste"),
        _missing("raw_paste_global_conf", [], "arbiter does not read paste files.", "--paste-global"),
        _missing("protocol", "http", "arbiter speaks HTTP, not uwsgi. Set the proxy to HTTP.", "--protocol"),
        _missing(
            "uwsgi_allow_ips", ["127.0.0.1", "::1"], "arbiter does not speak uwsgi.", "--uwsgi-allow-from"
        ),
        _strict("permit_obsolete_folding"),
        _strict("strip_header_spaces"),
        _strict("permit_unconventional_http_method"),
        _strict("permit_unconventional_http_version"),
        _strict("casefold_http_method"),
        _missing("logger_class", "gunicorn.glogging.Logger", _LOGGER, "--logger-class"),
        _tls("keyfile", flag="--keyfile"),
        _tls("certfile", flag="--certfile"),
        _tls("ca_certs", flag="--ca-certs"),
        _tls("ciphers", flag="--ciphers"),
        _tls("ssl_version", flag="--ssl-version"),
        _tls("cert_reqs", 0, "--cert-reqs"),
        _tls("suppress_ragged_eofs", True, "--suppress-ragged-eofs", switch=True),
        _tls("do_handshake_on_connect", False, "--do-handshake-on-connect", switch=True),
        _tls("ssl_context"),
        _missing("http_protocols", "h1", _HTTP2, "--http-protocols"),
        _missing("http2_cleartext", "off", _HTTP2, "--http2-cleartext"),
        _missing("http2_max_concurrent_streams", 100, _HTTP2, "--http2-max-concurrent-streams"),
        _missing("http2_initial_window_size", 65535, _HTTP2, "--http2-initial-window-size"),
        _missing("http2_max_frame_size", 16384, _HTTP2, "--http2-max-frame-size"),
        _missing("http2_max_header_list_size", 65536, _HTTP2, "--http2-max-header-list-size"),
        _missing("dirty_apps", [], _DIRTY, "--dirty-app"),
        _missing("dirty_workers", 0, _DIRTY, "--dirty-workers"),
        _missing("dirty_timeout", 300, _DIRTY, "--dirty-timeout"),
        _missing("dirty_threads", 1, _DIRTY, "--dirty-threads"),
        _missing("dirty_graceful_timeout", 30, _DIRTY, "--dirty-graceful-timeout"),
        _missing("on_dirty_starting", None, _DIRTY),
        _missing("dirty_post_fork", None, _DIRTY),
        _missing("dirty_worker_init", None, _DIRTY),
        _missing("dirty_worker_exit", None, _DIRTY),
    )
}
"""By name. Every setting of gunicorn 27 is here or in the table."""
