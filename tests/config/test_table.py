"""Every row of the table, from every source: flag, environment, file; and a bad value from each of them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from arbiter.config.gunicorn import FOREIGN
from arbiter.config.hook import Hook
from arbiter.config.kinds import Choice
from arbiter.config.options import parse
from arbiter.config.setting import Setting
from arbiter.config.sources import Loader
from arbiter.config.table import BY_NAME, HOOKS, SECTIONS, TABLE
from arbiter.config.unreadable import Unreadable
from arbiter.errors import ConfigError

BAD = "\x07"
"""No kind takes a control character."""

GOOD = {
    "config": "other.conf.py",
    "chdir": ".",
    "pythonpath": ".",
    "env_file": "some.env",
    "tmp_upload_dir": ".",
    "access_log_format": "%(h)s",
    "user": "0",
    "group": "0",
}
"""What a rule between settings, or the machine, needs to be so."""

SPELLINGS = (
    "7",
    "yes",
    "no",
    "some.text",
    "/path",
    "0o077",
    "2K",
    "2M",
    "10.0.0.0/8",
    "[::1]:8080",
    "udp://127.0.0.1:514",
    "NAME=value",
    '{"X-NAME": "text"}',
    "@0",
    "for",
    "0",
    "1",
)
"""Texts of which every setting takes one."""

every_setting = pytest.mark.parametrize("name", TABLE)
every_text = pytest.mark.parametrize(
    "name", [name for name, setting in TABLE.items() if setting.kind.textual]
)
every_flag = pytest.mark.parametrize("name", [name for name, setting in TABLE.items() if setting.flags])


def good(setting: Setting) -> str:
    """A text that the setting takes and that is not its default."""
    if setting.name in GOOD:
        return GOOD[setting.name]
    words = setting.kind.words if isinstance(setting.kind, Choice) else ()
    default = setting.read(setting.default)
    for text in (*words, *SPELLINGS):
        try:
            if setting.read(text) != default:
                return text
        except Unreadable:
            continue
    raise AssertionError(f"none of SPELLINGS suits {setting.name}: add one")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "other.conf.py").write_text("workers = 3\n")
    (tmp_path / "some.env").write_text("B=1\n")
    return tmp_path


def load(directory: Path, cli: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> Any:
    return Loader({"wsgi_app": "a:b", **(cli or {})}, environ or {}, str(directory)).load()


def refused(
    directory: Path, name: str, cli: dict[str, Any] | None = None, environ: dict[str, str] | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        Loader({"print_config": True, **(cli or {})}, environ or {}, str(directory)).load()
    faults = [fault for fault in caught.value.faults if fault.setting == name]
    assert faults, caught.value
    if name != "config":  # its fault is that there is no such file
        assert all(fault.problem and (fault.remedy or "hook" in fault.problem) for fault in faults)
    return str(caught.value)


@every_flag
def test_by_flag(directory: Path, name: str) -> None:
    setting = TABLE[name]
    for flag in setting.flags:
        words = _words(setting, flag)
        config = load(directory, parse(words))
        assert config.origin(name) == setting.flag
        assert getattr(config, name) == _expected(setting, directory)


def _words(setting: Setting, flag: str) -> list[str]:
    if not setting.kind.switch:
        return [flag, good(setting)]
    if setting.default is True and flag.startswith("--"):
        return [f"--no-{flag.removeprefix('--')}"]
    return [flag]


def _expected(setting: Setting, directory: Path) -> Any:
    return setting.kind.resolve(setting.read(good(setting)), str(directory))


@every_text
def test_by_environment(directory: Path, name: str) -> None:
    setting = TABLE[name]
    for variable in setting.environment:
        cli = {"wsgi_app": "a:b"} if name != "wsgi_app" else {}
        config = Loader(cli, {variable: good(setting)}, str(directory)).load()
        assert config.origin(name) == f"environment {variable}"
        assert getattr(config, name) == _expected(setting, directory)


@pytest.mark.parametrize("name", [name for name, setting in TABLE.items() if setting.in_file])
def test_by_file(directory: Path, name: str) -> None:
    setting = TABLE[name]
    for alias in setting.names:
        if isinstance(setting.kind, Hook):
            text = f"\n\ndef {alias}({', '.join(setting.kind.arguments)}):\n    pass\n"
        else:
            text = f"\n\n{alias} = {good(setting)!r}\n"
        (directory / "arbiter.conf.py").write_text(text)
        config = Loader({}, {"ARBITER_APP": "a:b"} if name != "wsgi_app" else {}, str(directory)).load()
        assert config.origin(name) == "arbiter.conf.py:3"
        if not isinstance(setting.kind, Hook):
            assert getattr(config, name) == getattr(config, alias) == _expected(setting, directory)


@pytest.mark.parametrize(
    "name", [name for name, setting in TABLE.items() if setting.flags and not setting.kind.switch]
)
def test_a_bad_value_by_flag(directory: Path, name: str) -> None:
    setting = TABLE[name]
    assert f"({setting.flag})" in refused(directory, name, parse([setting.flag, BAD]))


@every_text
def test_a_bad_value_by_environment(directory: Path, name: str) -> None:
    for variable in TABLE[name].environment:
        assert f"(environment {variable})" in refused(directory, name, {}, {variable: BAD})


@pytest.mark.parametrize("name", [name for name, setting in TABLE.items() if setting.in_file])
@pytest.mark.parametrize("value", [BAD, object()], ids=["text", "object"])
def test_a_bad_value_by_file(directory: Path, name: str, value: object) -> None:
    source = repr(value) if isinstance(value, str) else "object()"
    (directory / "arbiter.conf.py").write_text(f"workers = 2\n\n{name} = {source}\n")
    if name == "workers":
        (directory / "arbiter.conf.py").write_text(f"\n\n{name} = {source}\n")
    assert "(arbiter.conf.py:3)" in refused(directory, name)


# ---------------------------------------------------------------- the declarations themselves


@every_setting
def test_a_declaration_is_complete(name: str) -> None:
    setting = TABLE[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert setting.text.endswith((".", "."))
    assert setting.text[0].isupper() or setting.text[0] == "`"
    assert setting.read(setting.default) is None or setting.default is not None
    if setting.default is None:
        assert setting.unset or setting.derived, "what does it mean that it is unset?"
    if setting.flags:
        assert setting.flag.startswith("--")
    if setting.read(setting.default) is not None:
        assert setting.read(setting.default) == setting.read(setting.default)


def test_a_name_means_one_thing() -> None:
    names = Counter(name for setting in TABLE.values() for name in setting.names)
    flags = Counter(flag for setting in TABLE.values() for flag in setting.flags)
    flags.update(flag for foreign in FOREIGN.values() for flag in foreign.flags)
    variables = Counter(variable for setting in TABLE.values() for variable in setting.environment)
    for counter in (names, flags, variables):
        assert [word for word, count in counter.items() if count > 1] == []
    assert set(FOREIGN).isdisjoint(BY_NAME)


def test_sections_are_the_table() -> None:
    listed = [setting.name for section in SECTIONS for setting in section.settings]
    assert listed == list(TABLE)


def test_the_flags_of_gunicorn() -> None:
    """gunicorn.md 1.1: names and flags are the compatibility target."""
    flags = {
        "config": "-c --config",
        "bind": "-b --bind",
        "backlog": "--backlog",
        "workers": "-w --workers",
        "worker_class": "-k --worker-class",
        "threads": "--threads",
        "worker_connections": "--worker-connections",
        "max_requests": "--max-requests",
        "max_requests_jitter": "--max-requests-jitter",
        "timeout": "-t --timeout",
        "graceful_timeout": "--graceful-timeout",
        "keepalive": "--keep-alive",
        "limit_request_line": "--limit-request-line",
        "limit_request_fields": "--limit-request-fields",
        "limit_request_field_size": "--limit-request-field_size",
        "check_config": "--check-config",
        "print_config": "--print-config",
        "reuse_port": "--reuse-port",
        "chdir": "--chdir",
        "daemon": "-D --daemon",
        "raw_env": "-e --env",
        "pidfile": "-p --pid",
        "worker_tmp_dir": "--worker-tmp-dir",
        "user": "-u --user",
        "group": "-g --group",
        "umask": "-m --umask",
        "initgroups": "--initgroups",
        "forwarded_allow_ips": "--forwarded-allow-ips",
        "accesslog": "--access-logfile",
        "access_log_format": "--access-logformat",
        "errorlog": "--error-logfile --log-file",
        "loglevel": "--log-level",
        "capture_output": "--capture-output",
        "proc_name": "-n --name",
        "pythonpath": "--pythonpath",
        "proxy_protocol": "--proxy-protocol",
        "proxy_allow_ips": "--proxy-allow-from",
        "forwarder_headers": "--forwarder-headers",
        "header_map": "--header-map",
        "root_path": "--root-path",
    }
    for name, words in flags.items():
        assert set(words.split()) <= set(TABLE[name].flags), name


GUNICORN_27 = """
config wsgi_app bind backlog workers worker_class threads worker_connections max_requests max_requests_jitter
timeout graceful_timeout keepalive asgi_loop asgi_lifespan asgi_disconnect_grace_period
websocket_max_message_size
http_parser limit_request_line limit_request_fields limit_request_field_size reload reload_engine
reload_extra_files spew check_config print_config preload_app sendfile reuse_port chdir daemon raw_env pidfile
worker_tmp_dir user group umask initgroups tmp_upload_dir secure_scheme_headers forwarded_allow_ips pythonpath
paste raw_paste_global_conf proxy_protocol proxy_allow_ips protocol uwsgi_allow_ips permit_obsolete_folding
strip_header_spaces permit_unconventional_http_method permit_unconventional_http_version casefold_http_method
forwarder_headers header_map root_path accesslog disable_redirect_access_to_syslog access_log_format errorlog
loglevel capture_output logger_class logconfig logconfig_dict logconfig_json syslog syslog_addr syslog_prefix
syslog_facility enable_stdio_inheritance statsd_host dogstatsd_tags statsd_prefix enable_backlog_metric
proc_name default_proc_name keyfile certfile ca_certs ciphers ssl_version cert_reqs suppress_ragged_eofs
do_handshake_on_connect http_protocols http2_cleartext http2_max_concurrent_streams http2_initial_window_size
http2_max_frame_size http2_max_header_list_size dirty_apps dirty_workers dirty_timeout dirty_threads
dirty_graceful_timeout control_socket control_socket_mode control_socket_disable ssl_context on_dirty_starting
dirty_post_fork dirty_worker_init dirty_worker_exit
"""


def test_every_setting_of_gunicorn_is_known() -> None:
    known = set(BY_NAME) | set(FOREIGN)
    assert set(GUNICORN_27.split()) | set(HOOKS) <= known
