"""What a proxy in front may say about the client.

Neighbours: `config.table` collects it; `protocols.peer` acts on it. Its one rule: see `config.setting`.
"""

from __future__ import annotations

from typing import Final

from arbiter.config.kinds import Choice, Listing
from arbiter.config.network import FieldName, Network, RootPath, SchemeHeaders
from arbiter.config.setting import Setting

TITLE: Final = "Proxies"

SETTINGS: Final = (
    Setting(
        "root_path",
        RootPath(),
        "",
        "The path the application is mounted at (`SCRIPT_NAME` of WSGI, `root_path` of ASGI).",
        flags=("--root-path",),
    ),
    Setting(
        "forwarded_allow_ips",
        Listing(Network(), empty=True),
        "127.0.0.1,::1",
        "Peers whose `Forwarded` and `X-Forwarded-*` fields are believed: addresses, networks such as "
        "`10.0.0.0/8`, `*` for all. Peers on a unix socket are always believed.",
        flags=("--forwarded-allow-ips",),
        variables=("FORWARDED_ALLOW_IPS",),
    ),
    Setting(
        "forwarded_fields",
        Listing(Choice("for", "proto", "host", "port", "prefix", "forwarded"), empty=True),
        "for,proto,host,port,prefix,forwarded",
        "Which of these are believed: `X-Forwarded-For`, `-Proto` (and `secure_scheme_headers`), `-Host`, "
        "`-Port`, `-Prefix`, and `Forwarded`. A proxy must set, or remove, each one that is believed: many "
        "pass on what the client itself sent in those they do not know, and a client could then choose the "
        "host that the application takes itself to be. Name only those that your proxy sets.",
        flags=("--forwarded-fields",),
    ),
    Setting(
        "secure_scheme_headers",
        SchemeHeaders(),
        {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"},
        "Fields, with their values, by which a believed proxy says that the client's request came by https.",
    ),
    Setting(
        "forwarder_headers",
        Listing(FieldName(), empty=True),
        "SCRIPT_NAME,PATH_INFO",
        "Names with an underscore that a believed proxy may set (see `header_map`).",
        flags=("--forwarder-headers",),
    ),
    Setting(
        "proxy_protocol",
        Choice(
            "off",
            "v1",
            "v2",
            "auto",
            # gunicorn's setting was once a yes or no
            meanings={
                **dict.fromkeys(("false", "no", "0"), "off"),
                **dict.fromkeys(("true", "yes", "on", "1"), "auto"),
            },
        ),
        "off",
        "Whether connections begin with a header of the PROXY protocol: the text form, the binary form, "
        "or either.",
        flags=("--proxy-protocol",),
    ),
    Setting(
        "proxy_allow_ips",
        Listing(Network(), empty=True),
        "127.0.0.1,::1",
        "Peers that may send a PROXY protocol header, as in `forwarded_allow_ips`.",
        flags=("--proxy-allow-from",),
    ),
)
