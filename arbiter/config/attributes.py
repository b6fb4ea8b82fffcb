"""The types of the settings, for type checkers.

Neighbours: `snapshot.Config` inherits it. Its one rule: made from the sections by
`python -m arbiter.config.render --write`, never written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from arbiter.config.address import Address


class Attributes:
    """Every setting by its name and its aliases."""

    # Application
    config: str | None
    wsgi_app: str
    app: str
    django_settings: str | None
    chdir: str
    pythonpath: tuple[str, ...]
    raw_env: Mapping[str, str]
    env_file: str | None
    check_config: bool
    print_config: bool

    # Sockets
    bind: tuple[Address, ...]
    backlog: int
    reuse_port: bool

    # Workers
    workers: int
    workers_min: int
    workers_max: int
    worker_class: str
    threads: int
    worker_connections: int
    max_requests: int
    max_requests_jitter: int
    timeout: float
    request_timeout: float
    slow_request: float
    graceful_timeout: float
    boot_timeout: float

    # Preloading
    preload_app: str
    warmup_paths: tuple[str, ...]
    memory_merge: bool
    django_check: str
    rollback_keep: float

    # Supervision
    reload_max_surge: str
    reload_soak: float
    readiness_path: str | None
    drain_delay: float
    max_worker_age: float
    max_worker_memory: int
    max_worker_memory_hard: int

    # HTTP
    keepalive: float
    header_timeout: float
    body_timeout: float
    body_min_rate: int
    send_timeout: float
    limit_request_line: int
    limit_request_fields: int
    limit_request_field_size: int
    limit_request_head: int
    limit_request_body: int
    limit_request_drain: int
    limit_request_pipeline: int
    limit_request_chunk_line: int
    body_spool: int
    tmp_upload_dir: str | None
    sendfile: bool
    server_header: str
    header_map: str

    # Proxies
    root_path: str
    forwarded_allow_ips: tuple[str, ...]
    forwarded_fields: tuple[str, ...]
    secure_scheme_headers: dict[str, str]
    forwarder_headers: tuple[str, ...]
    proxy_protocol: str
    proxy_allow_ips: tuple[str, ...]

    # ASGI
    asgi_loop: str
    asgi_lifespan: str
    lifespan_timeout: float
    websocket_max_message_size: int
    websocket_ping_interval: float
    websocket_ping_timeout: float
    loop_lag_warning: float
    websocket_compression: bool
    websocket_close_timeout: float

    # Logging
    errorlog: str
    loglevel: str
    accesslog: str | None
    access_log_format: str
    log_format: str
    access_log_exclude: tuple[str, ...]
    access_log_sample: int
    access_log_buffer: int
    request_id_header: str | None
    log_journald: bool
    syslog: bool
    syslog_addr: str
    syslog_prefix: str | None
    syslog_facility: str
    disable_redirect_access_to_syslog: bool
    logconfig: str | None
    logconfig_json: str | None
    logconfig_dict: dict[str, Any]
    capture_output: bool

    # Control and metrics
    control_socket: str | None
    control_socket_mode: int
    control_socket_disable: bool
    control_observers: tuple[str, ...]
    control_operators: tuple[str, ...]
    control_admins: tuple[str, ...]
    metrics_bind: Address | None
    min_ready: int
    statsd_host: Address | None
    statsd_prefix: str
    dogstatsd_tags: str
    enable_backlog_metric: bool

    # Process
    proc_name: str
    daemon: bool
    pidfile: str | None
    user: int
    group: int
    initgroups: bool
    umask: int | None
    worker_tmp_dir: str | None

    # Hooks
    on_starting: Callable[..., Any] | None
    on_reload: Callable[..., Any] | None
    when_ready: Callable[..., Any] | None
    pre_fork: Callable[..., Any] | None
    post_fork: Callable[..., Any] | None
    post_worker_init: Callable[..., Any] | None
    worker_int: Callable[..., Any] | None
    worker_abort: Callable[..., Any] | None
    pre_exec: Callable[..., Any] | None
    pre_request: Callable[..., Any] | None
    post_request: Callable[..., Any] | None
    child_exit: Callable[..., Any] | None
    worker_exit: Callable[..., Any] | None
    nworkers_changed: Callable[..., Any] | None
    on_exit: Callable[..., Any] | None
