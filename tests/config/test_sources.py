"""Where values come from, which of them wins, and that all faults are told at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from arbiter.config.snapshot import Config
from arbiter.config.sources import Loader
from arbiter.errors import ConfigError, ExitStatus

APP = {"wsgi_app": "a:b"}


class Site:
    """A directory with a configuration, loaded as often as one likes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loaders: list[Loader] = []

    def write(self, text: str, name: str = "arbiter.conf.py") -> None:
        (self.directory / name).write_text(text)

    def loader(self, cli: dict[str, Any] | None = None, **environ: str) -> Loader:
        loader = Loader(APP if cli is None else cli, environ, str(self.directory))
        self.loaders.append(loader)
        return loader

    def load(self, cli: dict[str, Any] | None = None, **environ: str) -> Config:
        return self.loader(cli, **environ).load()

    def refused(self, cli: dict[str, Any] | None = None, **environ: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            self.load(cli, **environ)
        return caught.value


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


# ---------------------------------------------------------------- precedence


def test_each_source_is_stronger_than_the_one_before(site: Site) -> None:
    def workers(cli: dict[str, Any], **environ: str) -> tuple[int, str]:
        config = site.load({**APP, **cli}, **environ)
        return config.workers, config.origin("workers")

    assert workers({}) == (1, "default")
    site.write("\nworkers = 2\n")
    assert workers({}) == (2, "arbiter.conf.py:2")
    environ = {"WEB_CONCURRENCY": "3"}
    assert workers({}, **environ) == (3, "environment WEB_CONCURRENCY")
    environ["ARBITER_WORKERS"] = "4"
    assert workers({}, **environ) == (4, "environment ARBITER_WORKERS")
    environ["ARBITER_CMD_ARGS"] = "--workers 5 --threads '2'"
    assert workers({}, **environ) == (5, "environment ARBITER_CMD_ARGS")
    assert workers({"workers": "6"}, **environ) == (6, "--workers")


def test_the_argument_beats_the_file(site: Site) -> None:
    site.write("app = 'c:d'\n")
    assert site.load({}).app == "c:d"
    config = site.load({"wsgi_app": "a:b"})
    assert (config.app, config.origin("wsgi_app")) == ("a:b", "argument APP")
    assert site.load({}, ARBITER_CMD_ARGS="-w 2 e:f").app == "e:f"


def test_a_list_replaces_a_list(site: Site) -> None:
    site.write("bind = [':1', ':2']\n")
    assert [str(address) for address in site.load({**APP, "bind": [":3"]}).bind] == ["0.0.0.0:3"]


def test_variables_add_up(site: Site) -> None:
    site.write("raw_env = ['A=file', 'B=file']\n")
    config = site.load({**APP, "raw_env": ["B=cli"]}, ARBITER_RAW_ENV="C=env")
    assert config.raw_env == {"A": "file", "B": "cli", "C": "env"}
    assert config.environment() == {"A": "file", "B": "cli", "C": "env"}
    assert config.variable_origin("A") == "arbiter.conf.py:1"
    assert config.variable_origin("B") == "--env"
    assert config.variable_origin("Z") == ""


def test_port_is_a_default_only(site: Site) -> None:
    """As in gunicorn: PORT says where to listen if nothing else does."""
    config = site.load(PORT="5000")
    assert [str(address) for address in config.bind] == ["0.0.0.0:5000"]
    assert config.origin("bind") == "environment PORT"
    site.write("bind = 'unix:a.sock'\n")
    assert site.load(PORT="5000").origin("bind") == "arbiter.conf.py:1"
    assert site.load(PORT="tcp://nonsense").origin("bind") == "arbiter.conf.py:1"
    site.write("")
    assert "environment PORT" in str(site.refused(PORT="tcp://10.0.0.1:80"))


def test_set_to_nothing(site: Site) -> None:
    site.write("accesslog = '-'\nserver_header = 'x'\n")
    config = site.load(WEB_CONCURRENCY="", PORT="", ARBITER_ACCESSLOG="", ARBITER_SERVER_HEADER="")
    assert (config.workers, config.accesslog, config.server_header) == (1, None, "")
    assert site.load(FORWARDED_ALLOW_IPS="").forwarded_allow_ips == (), "nobody is believed"


def test_gunicorns_variable_is_not_ignored_without_a_word(site: Site) -> None:
    config = site.load(GUNICORN_CMD_ARGS="--workers 3 --certfile x")
    (notice,) = config.notices
    assert notice.startswith("environment GUNICORN_CMD_ARGS: it is gunicorn's, and arbiter does not read it")
    assert "ARBITER_CMD_ARGS" in notice
    assert config.workers == 1
    assert site.load(GUNICORN_CMD_ARGS=" ").notices == ()


def test_a_variable_that_is_nearly_one_of_ours_is_noted(site: Site) -> None:
    (notice,) = site.load(
        ARBITER_WORKRES="3", ARBITER_SERVICE_HOST="10.0.0.1", ARBITER_PORT_80_TCP="x"
    ).notices
    assert notice == "environment ARBITER_WORKRES: there is no such variable; is ARBITER_WORKERS meant?"


# ---------------------------------------------------------------- the file


def test_which_file(site: Site) -> None:
    site.write("workers = 2\n")
    site.write("workers = 3\n", "other.py")
    assert site.load().workers == 2
    assert site.load({**APP, "config": "other.py"}).workers == 3
    assert site.load(ARBITER_CONFIG="other.py").workers == 3
    assert site.load({**APP, "config": ""}).workers == 1, "-c '' reads none"
    assert site.load({**APP, "config": ""}, ARBITER_CONFIG="other.py").workers == 1


def test_gunicorns_file_is_named_but_not_executed(site: Site) -> None:
    site.write("raise SystemExit\n", "gunicorn.conf.py")
    (notice,) = site.load().notices
    assert "-c gunicorn.conf.py" in notice
    site.write("")
    assert site.load().notices == ()


def test_a_file_that_is_missing(site: Site) -> None:
    error = site.refused({**APP, "config": "missing.py", "workers": "x"})
    assert [fault.setting for fault in error.faults] == ["config", "workers"]
    assert error.faults[0].origin == "--config"


def test_a_file_cannot_name_another(site: Site) -> None:
    site.write("config = 'other.py'\n")
    assert "cannot be set in the file" in str(site.refused())


def test_an_alias_beside_its_name(site: Site) -> None:
    site.write("app = 'a:b'\nwsgi_app = 'a:b'\n")
    assert site.load({}).app == "a:b"
    site.write("app = 'a:b'\nwsgi_app = 'c:d'\n")
    (fault,) = site.refused({}).faults
    assert fault.problem == "is app (arbiter.conf.py:1) by another name"


def test_relative_paths_start_at_chdir(site: Site) -> None:
    site.write(
        "chdir = 'inner'\nerrorlog = 'log/e'\naccesslog = '-'\nbind = 'unix:a.sock'\npythonpath = 'lib,/x'\n"
    )
    (site.directory / "inner" / "lib").mkdir(parents=True)
    config = site.load()
    inner = str(site.directory / "inner")
    assert config.chdir == inner
    assert config.errorlog == f"{inner}/log/e"
    assert config.accesslog == "-"
    assert str(config.bind[0]) == f"unix:{inner}/a.sock"
    assert config.pythonpath == (f"{inner}/lib", "/x")


def test_derived_values(site: Site) -> None:
    config = site.load()
    assert config.proc_name == "a:b"
    assert config.chdir == str(site.directory)
    assert config.origin("proc_name") == "default"


# ---------------------------------------------------------------- faults


def test_all_faults_at_once(site: Site) -> None:
    site.write(
        "workers = 'many'\nworkerz = 3\n\ntimeout = -1\ncertfile = 'x'\nbind = 'host:x'\nchdir = 'gone'\n"
    )
    error = site.refused({**APP, "threads": "0"}, ARBITER_CMD_ARGS="--nothing", ARBITER_KEEPALIVE="soon")
    told = {(fault.setting, fault.origin) for fault in error.faults}
    assert told == {
        ("ARBITER_CMD_ARGS", "environment"),
        ("workerz", "arbiter.conf.py:2"),
        ("certfile", "arbiter.conf.py:5"),
        ("workers", "arbiter.conf.py:1"),
        ("timeout", "arbiter.conf.py:4"),
        ("bind", "arbiter.conf.py:6"),
        ("threads", "--threads"),
        ("keepalive", "environment ARBITER_KEEPALIVE"),
        ("chdir", "arbiter.conf.py:7"),
    }
    assert all(fault.remedy for fault in error.faults)
    assert str(error).startswith("9 faults in the configuration:\n")
    assert error.status is ExitStatus.CONFIG


def test_a_bad_value_is_told_also_when_it_is_overridden(site: Site) -> None:
    site.write("workers = 'many'\n")
    assert site.refused({**APP, "workers": "3"}).faults[0].origin == "arbiter.conf.py:1"


def test_a_missing_user_has_its_own_status(site: Site) -> None:
    error = site.refused({**APP, "user": "nobody-of-that-name"})
    assert error.status is ExitStatus.IDENTITY
    assert site.refused({**APP, "user": "nobody-of-that-name", "workers": "x"}).status is ExitStatus.CONFIG


@pytest.mark.parametrize("words", ["--workers", "'unclosed", "--nothing", "-w 1 a b"])
def test_command_arguments_that_cannot_be_understood(site: Site, words: str) -> None:
    (fault,) = site.refused(ARBITER_CMD_ARGS=words).faults
    assert "ARBITER_CMD_ARGS (environment): cannot be understood" in str(fault)


# ---------------------------------------------------------------- gunicorn's settings


def test_gunicorns_defaults_are_accepted_in_silence(site: Site) -> None:
    site.write("reload = False\nspew = False\ncertfile = None\nprotocol = 'http'\nkeyfile = None\n")
    assert site.load().notices == ()


def test_harmless_settings_are_accepted_and_explained(site: Site) -> None:
    site.write("\nhttp_parser = 'fast'\n")
    (notice,) = site.load().notices
    assert notice.startswith("http_parser (arbiter.conf.py:2) has no effect: ")


def test_settings_that_would_be_missed_are_refused(site: Site) -> None:
    error = site.refused({**APP, "reload": True, "certfile": "x"})
    assert [(fault.setting, fault.origin) for fault in error.faults] == [
        ("reload", "--reload"),
        ("certfile", "--certfile"),
    ]


# ---------------------------------------------------------------- DJANGO_SETTINGS_MODULE

DJANGO = "DJANGO_SETTINGS_MODULE"


def test_django_settings_precedence(site: Site) -> None:
    """Command line (-e) > environment > file (raw_env or django_settings, env_file) > the project's own."""

    def settings(cli: dict[str, Any] | None = None, **environ: str) -> str | None:
        return site.load({**APP, **(cli or {})}, **environ).environment().get(DJANGO)

    assert settings() is None
    site.write(f"{DJANGO}=by.env_file\n", "site.env")
    site.write("env_file = 'site.env'\n")
    assert settings() == "by.env_file"
    site.write("env_file = 'site.env'\ndjango_settings = 'by.file'\n")
    assert settings() == "by.file"
    site.write(f"raw_env = ['{DJANGO}=by.raw', 'A=1']\n")
    assert settings() == "by.raw"
    assert settings(**{DJANGO: "by.environment"}) is None, "the environment's own stays"
    assert site.load(**{DJANGO: "by.environment"}).environment() == {"A": "1"}
    assert settings(**{DJANGO: ""}) == "by.raw", "empty is not set"
    assert settings({"raw_env": [f"{DJANGO}=by.cli"]}, **{DJANGO: "by.environment"}) == "by.cli"
    assert settings({"django_settings": "by.flag"}, **{DJANGO: "by.environment"}) == "by.flag"
    assert settings(ARBITER_DJANGO_SETTINGS="by.arbiter", **{DJANGO: "by.environment"}) == "by.arbiter"
    assert settings(ARBITER_CMD_ARGS=f"-e {DJANGO}=by.args", **{DJANGO: "by.environment"}) == "by.args"


def test_django_settings_said_twice(site: Site) -> None:
    site.write(f"django_settings = 'one'\nraw_env = ['{DJANGO}=one']\n")
    assert site.load().environment()[DJANGO] == "one"
    site.write(f"django_settings = 'one'\nraw_env = ['{DJANGO}=two']\n")
    (fault,) = site.refused().faults
    assert fault.origin == "arbiter.conf.py:1"
    assert "raw_env (arbiter.conf.py:2)" in fault.problem


# ---------------------------------------------------------------- env_file


def test_env_file(site: Site) -> None:
    """The environment is stronger than the file, raw_env stronger than both."""
    site.write("A=file\nB=file\nC=file\n", "site.env")
    site.write("env_file = 'site.env'\nraw_env = {'C': 'raw'}\n")
    config = site.load(B="environment", C="environment")
    assert config.environment() == {"A": "file", "C": "raw"}
    assert config.variable_origin("A") == f"{site.directory}/site.env:1"


def test_faults_of_an_env_file_are_among_the_others(site: Site) -> None:
    site.write("not a variable\n", "site.env")
    error = site.refused({**APP, "env_file": "site.env", "workers": "x"})
    assert {fault.setting for fault in error.faults} == {"env_file", "workers"}
    assert "cannot be read" in str(site.refused({**APP, "env_file": "missing.env"}))


# ---------------------------------------------------------------- reload


def test_a_reload_reads_everything_anew(site: Site) -> None:
    site.write("count = 2\n", "conf_helper_of_reload.py")
    site.write("A=1\n", "site.env")
    site.write("from conf_helper_of_reload import count as workers\nenv_file = 'site.env'\n")
    loader = site.loader()
    config = loader.load()
    assert (config.workers, config.environment()) == (2, {"A": "1"})
    site.write("count = 3\n", "conf_helper_of_reload.py")
    site.write("A=2\n", "site.env")
    config = loader.load()
    assert (config.workers, config.environment()) == (3, {"A": "2"})
    site.write("")
    assert loader.load().workers == 1
    assert "conf_helper_of_reload" not in sys.modules


def test_a_reload_starts_from_the_environment_of_the_start(site: Site) -> None:
    site.write("import os\nos.environ['SET_BY_CONF'] = os.environ.get('SET_BY_CONF', '') + 'x'\n")
    loader = site.loader()
    loader.load()
    assert os.environ["SET_BY_CONF"] == "x"
    loader.load()
    assert os.environ["SET_BY_CONF"] == "x"
    site.write("")
    loader.load()
    assert "SET_BY_CONF" not in os.environ


@pytest.mark.parametrize("broken", ["workers = 'x'\n", "raise RuntimeError\n", "def f(:\n"])
def test_a_refused_reload_changes_nothing(site: Site, broken: str) -> None:
    good = "import os, sys\nos.environ['SET_BY_CONF'] = 'good'\nsys.path.append('/by/conf')\n"
    site.write(good)
    loader = site.loader()
    loader.load()
    site.write("import os\nos.environ['SET_BY_CONF'] = 'bad'\nos.environ['ALSO_BY_CONF'] = 'bad'\n" + broken)
    with pytest.raises(ConfigError):
        loader.load()
    assert os.environ["SET_BY_CONF"] == "good"
    assert "ALSO_BY_CONF" not in os.environ
    assert sys.path.count("/by/conf") == 1
    site.write("")
    loader.load()
    assert "SET_BY_CONF" not in os.environ
    assert "/by/conf" not in sys.path


def test_a_reload_that_failed_to_start_is_reverted(site: Site) -> None:
    text = "import os\nos.environ['SET_BY_CONF'] = '{}'\n"
    site.write(text.format("old"))
    loader = site.loader()
    loader.load()
    site.write(text.format("new") + "os.environ['ALSO_BY_CONF'] = 'new'\n")
    loader.load()
    assert (os.environ["SET_BY_CONF"], os.environ["ALSO_BY_CONF"]) == ("new", "new")
    loader.revert()
    assert os.environ["SET_BY_CONF"] == "old"
    assert "ALSO_BY_CONF" not in os.environ
    site.write("")
    loader.load()
    assert "SET_BY_CONF" not in os.environ


def test_the_environment_is_kept_as_it_was(site: Site) -> None:
    environ = {"WEB_CONCURRENCY": "2"}
    loader = Loader(APP, environ, str(site.directory))
    environ["WEB_CONCURRENCY"] = "9"
    assert loader.load().workers == 2
