"""Every setting with its default, commented out: a file to copy lines from.

Made from arbiter/config/sections by `python -m arbiter.config.render --write`; the reference with
flags and environment variables is docs/settings.md."""

# wsgi_app = "myproject.asgi:application"


# -------------------- Application

# The value of `DJANGO_SETTINGS_MODULE` for the workers. A variable given by `-e` or `--django-settings` on
# the command line comes first, then the environment, then the configuration file (`raw_env`, this setting,
# `env_file`), and last whatever the project's own `asgi.py` or `wsgi.py` sets.
# django_settings = None  # left to the environment and the project

# The directory workers run in; it is importable, and relative paths in other settings start there. A
# symbolic link is followed anew at every reload.
# chdir = None  # the directory arbiter was started in

# More directories to import from, before those Python has; relative ones start at `chdir`.
# pythonpath = []

# Environment variables for the workers: a list of `NAME=value`, or a dict. Sources add up, name by name,
# and a stronger one overrides a weaker. They override the environment arbiter was started in; only
# `DJANGO_SETTINGS_MODULE` from the file does not (see `django_settings`).
# raw_env = {}

# A file of `NAME=value` lines (comments, quotes and `export` are understood), read at the start and at
# every reload. The environment arbiter was started in is stronger, and so is `raw_env`.
# env_file = None  # none is read

# Check the configuration, import the application, say what is wrong, and exit.
# check_config = False

# Print every setting with its value and where the value came from, and exit.
# print_config = False


# -------------------- Sockets

# Addresses to listen on: `HOST:PORT`, `:PORT` (every IPv4 address), `[v6]:PORT`, `unix:PATH`, `unix:@NAME`
# (abstract), `fd://N`. A list, or the flag repeated. If the environment has `PORT` and nothing else says
# where to listen, the default is `0.0.0.0:$PORT`. Sockets passed by systemd take the place of all.
# bind = ['127.0.0.1:8000']

# How many connections the kernel may hold that no worker has accepted yet. The kernel's own bound
# (`net.core.somaxconn`) is in force below it.
# backlog = 2048

# Set `SO_REUSEPORT`, so that another server may listen on the same TCP address.
# reuse_port = False


# -------------------- Workers

# How many worker processes serve. `auto` is one for each CPU that affinity and the control group's quota
# allow. With `workers_max`: how many there are at the start; if this is not set, `workers_min`.
# workers = 1

# With `workers_max`: there are never fewer workers than this.
# workers_min = 1

# Let the number of workers follow the load, from `workers_min` to this: more at once when requests ask for
# them and memory and processors allow it, fewer slowly when they do not (docs/autoscale.md). `auto` is one
# for each CPU. `arbiterctl scale`, TTIN and TTOU hold a number until `arbiterctl scale auto`. 0: there are
# `workers`.
# workers_max = 0

# How a worker serves. `sync`: WSGI, one request at a time; `threaded`: WSGI, `threads` requests at a time;
# `asgi`: ASGI on asyncio; `auto`: what the application is (WSGI: threaded if `threads` is above 1).
# gunicorn's and uvicorn's names (`gthread`, `uvicorn.workers.UvicornWorker`) are understood.
# worker_class = 'auto'

# Threads per worker for a WSGI application; more than one makes a sync worker a threaded one.
# threads = 1

# Open connections per worker; above that the worker accepts no more, and they wait in the kernel.
# worker_connections = 1000

# After so many requests a worker is replaced (its successor serves first). 0: never.
# max_requests = 0

# Up to so many requests are added to `max_requests`, at random, so that workers are not replaced together.
# max_requests_jitter = 0

# Seconds without a sign of life (sync, threaded: on one request) after which a worker is killed and
# replaced; its stacks are logged first. 0: never.
# timeout = 30

# Seconds a request may take, from its head to the end of its answer. asgi: the call is cancelled and, if
# nothing of an answer is out, 504 is sent; other requests go on. sync, threaded: as with `timeout`, whose
# place it takes for requests: the worker's stacks are logged, it is replaced, and what else it works on may
# end. A view that needs longer calls `arbiter.extend_deadline(seconds)`. 0: never.
# request_timeout = 0

# Seconds after which a request still in work is told in the log, once, with the worker's stacks; it goes
# on. 0: never.
# slow_request = 0

# Seconds a worker that should stop has to finish the requests it has; what still runs then is cut and
# logged.
# graceful_timeout = 30

# Seconds a new worker has until it is ready: import of the application and start of its lifespan. Then it
# is killed, and the start counts as failed. 0: no limit.
# boot_timeout = 60


# -------------------- Preloading

# Load the application once, in a process that serves nobody (the mold), and fork workers from it: they
# share its memory, start in milliseconds, and one that dies is replaced by the code that was running,
# whatever lies on disk. Every reload makes a new mold. `auto` does so unless the application holds
# something that does not survive a fork (docs/fork-safety.md), which the log then names; `True` does so
# even then, with a warning; `False` lets every worker load it by itself.
# preload_app = 'auto'

# Paths, or URLs whose host and scheme the application is to see, that the mold asks the application for
# before the first worker is forked, so that what is loaded on the first request is shared. An answer of 500
# or above fails the start or the reload, one of 4xx is told in the log. A path may stand there several
# times, as in `["/", "/api/"] * 8`: code that has run some times is specialised by the interpreter, which
# is then shared, too.
# warmup_paths = []

# Have the kernel look for pages of memory that molds and workers have with the same content, and keep one
# copy (KSM, Linux 6.4 and newer): what they stop sharing as they run, most of which is only counted
# differently for a moment, is shared again when they rest. The kernel spends some processor time on that.
# Whoever else on the machine has their memory merged could find out, by timing, whether a page that they
# know is in yours, or in that of a program that your application starts. It needs `echo 1 >
# /sys/kernel/mm/ksm/run`; the log says if that is missing.
# memory_merge = False

# Run Django's system checks in the mold: `default`, or `deploy` with those of `check --deploy`. Errors fail
# the start or the reload, warnings go to the log.
# django_check = 'off'

# Seconds for which a reload keeps the mold of the generation it replaces, asleep, so that `arbiterctl
# rollback` can bring that generation back at once. 0: not at all.
# rollback_keep = 300


# -------------------- Supervision

# How many workers of a new generation may start at once beside the old ones, as a number or a share of
# `workers`; at least one. The first always goes ahead alone.
# reload_max_surge = '25%'

# Seconds a worker of a new generation serves beside its predecessor before that one drains. If it dies, or
# the new generation answers with 5xx more than three times as often as the old one (at least 20 requests,
# more than 2 %), the reload fails and the old generation stays. 0: no soak.
# reload_soak = 0.5

# A path, or a URL whose host and scheme the application is to see, that every new worker is asked for
# through a private socket before it accepts anything. An answer of 400 or above, or none within
# `boot_timeout`, is a failed start: a reload is then off, and the log has status and body.
# readiness_path = None  # a worker is ready when its application is loaded (ASGI: and its lifespan started)

# Seconds between a request to stop and the stop; everything goes on meanwhile, only readiness is withdrawn.
# For load balancers that notice late (Kubernetes). A second request skips the wait.
# drain_delay = 0

# Seconds after which a worker is replaced (its successor serves first). 0: never.
# max_worker_age = 0

# Memory of a worker's own (USS, in bytes) beyond which it is replaced; its successor serves first. 0: no
# limit.
# max_worker_memory = 0

# Memory of a worker's own (USS, in bytes) beyond which it is drained at once, while its successor starts.
# 0: no limit.
# max_worker_memory_hard = 0


# -------------------- HTTP

# Seconds a connection may be idle between two requests. Behind a proxy that keeps connections, choose more
# than the proxy does. 0: one request per connection.
# keepalive = 2

# Seconds a client has to send the whole head of a request; then 408, or silence if it sent nothing. 0: no
# limit.
# header_timeout = 10

# Seconds of silence within a request's body; then 408. 0: no limit.
# body_timeout = 30

# Bytes per second that a request's body must amount to on the average once `body_timeout` has gone by;
# slower: 408. 0: any rate.
# body_min_rate = 240

# Seconds a client may take none of its answer; then the connection is cut. 0: no limit.
# send_timeout = 60

# Longest request line; above: 414. 0: bounded by `limit_request_head` alone.
# limit_request_line = 4094

# Most header fields of a request, and most trailer fields; above: 431.
# limit_request_fields = 100

# Longest header field; above: 431. 0: bounded by `limit_request_head` alone.
# limit_request_field_size = 8190

# Longest head of a request, its line and all its fields; above: 431. Trailers have the same bound.
# limit_request_head = "64K"

# Longest body of a request; above: 413. 0: no limit.
# limit_request_body = 0

# How much of a body that the application did not read is read and thrown away, so that the connection can
# be used again; above, the connection is closed.
# limit_request_drain = "64K"

# How much is kept of requests that a client sends before it has the answer to the one before; above,
# arbiter stops reading from it until there is room.
# limit_request_pipeline = "64K"

# Longest line with the size of a chunk, its extensions included; above: 400.
# limit_request_chunk_line = "1K"

# Request bodies longer than this are kept in a temporary file while a WSGI application waits for them.
# body_spool = "1M"

# The directory of these temporary files.
# tmp_upload_dir = None  # the system's (TMPDIR, /tmp)

# Send files with `sendfile(2)` where the interface allows it.
# sendfile = True

# The `Server` field of answers; empty: none.
# server_header = 'arbiter'

# What becomes of a request field whose name has an underscore, which in a WSGI environ cannot be told from
# one with a hyphen: `drop` it, `refuse` the request, or let it through, which is `dangerous`.
# header_map = 'drop'


# -------------------- Proxies

# The path the application is mounted at (`SCRIPT_NAME` of WSGI, `root_path` of ASGI).
# root_path = ''

# Peers whose `Forwarded` and `X-Forwarded-*` fields are believed: addresses, networks such as `10.0.0.0/8`,
# `*` for all. Peers on a unix socket are always believed.
# forwarded_allow_ips = ['127.0.0.1', '::1']

# Which of these are believed: `X-Forwarded-For`, `-Proto` (and `secure_scheme_headers`), `-Host`, `-Port`,
# `-Prefix`, and `Forwarded`. A proxy must set, or remove, each one that is believed: many pass on what the
# client itself sent in those they do not know, and a client could then choose the host that the application
# takes itself to be. Name only those that your proxy sets.
# forwarded_fields = ['for', 'proto', 'host', 'port', 'prefix', 'forwarded']

# Fields, with their values, by which a believed proxy says that the client's request came by https.
# secure_scheme_headers = {'X-FORWARDED-PROTOCOL': 'ssl', 'X-FORWARDED-PROTO': 'https', 'X-FORWARDED-SSL':
#     'on'}

# Names with an underscore that a believed proxy may set (see `header_map`).
# forwarder_headers = ['SCRIPT_NAME', 'PATH_INFO']

# Whether connections begin with a header of the PROXY protocol: the text form, the binary form, or either.
# proxy_protocol = 'off'

# Peers that may send a PROXY protocol header, as in `forwarded_allow_ips`.
# proxy_allow_ips = ['127.0.0.1', '::1']


# -------------------- ASGI

# The event loop: `uvloop`, `asyncio`, or `auto` for uvloop if it is installed.
# asgi_loop = 'auto'

# Whether the application is told of start and end: `on` (it must understand), `off`, or `auto` (if it
# does).
# asgi_lifespan = 'auto'

# Seconds the application has for the end of its lifespan once its last request is done. Its start is
# bounded by `boot_timeout`.
# lifespan_timeout = 30

# Longest message a client may send, decompressed; above, the connection is closed with 1009. 0: no limit.
# websocket_max_message_size = "16M"

# Seconds between pings that keep a WebSocket alive and find a dead client. 0: no pings.
# websocket_ping_interval = 20

# Seconds a client has to answer a ping; then the connection is closed. 0: no limit.
# websocket_ping_timeout = 20

# Seconds for which the event loop may be held up before that is told in the log, with the line that held it
# up and for how long. 0: never.
# loop_lag_warning = 1

# Offer permessage-deflate (RFC 7692) to clients that ask for it.
# websocket_compression = True

# Seconds a client has to answer a close frame; then the connection is cut.
# websocket_close_timeout = 5


# -------------------- Logging

# The file of arbiter's own log; `-` is standard error. USR1 reopens it.
# errorlog = '-'

# The least level of records in the log.
# loglevel = 'info'

# The file of the access log, one line per request; `-` is standard output. USR1 reopens it.
# accesslog = None  # no access log

# A line of the access log. Atoms: h client, l -, u user, t date, r request line, m method, U path, q query,
# H protocol, s status, b or B length of the answer, f referer, a user agent, T, M, D or L duration (s, ms,
# us, s with decimals), p process, X why cut short, {name}i request field, {name}o answer field, {name}e
# environ variable. Or `json`: a JSON object per line, which is also what `log_format = "json"` makes of the
# default.
# access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'

# How records of arbiter's own log look: text for people (in colour on a terminal, unless NO_COLOR is set),
# or a JSON object per line. docs/logging.md has the names of the events and their fields.
# log_format = 'text'

# Paths whose requests are not in the access log: `/healthz`, or `/static/*` for all below.
# access_log_exclude = []

# Of how many requests one is in the access log, chosen by chance. Those that failed (5xx, cut short) always
# are.
# access_log_sample = 1

# How much of the access log each worker keeps while it cannot be written (a full disk, a reader that does
# not read); what comes then is dropped, counted, and the count is logged.
# access_log_buffer = "1M"

# The field that carries a request's id, such as `X-Request-ID`: what a trusted peer (see
# `forwarded_allow_ips`) sends in it is kept, else arbiter makes one. The application sees it as if the
# client had sent it; `%({x-request-id}i)s` and the JSON access log show it.
# request_id_header = None  # requests get no id

# When standard error leads to systemd's journal (JOURNAL_STREAM) and `log_format` is text, speak the
# journal's own protocol, so that `journalctl ARBITER_EVENT=worker.died` finds records by their fields.
# Without it, or where it is not reached, lines begin with their priority (`<4>`).
# log_journald = True

# Send the log, and the access log too, to a syslog daemon.
# syslog = False

# Where that daemon is: `unix:///dev/log` (`#stream` or `#dgram` may follow), `udp://HOST:PORT`,
# `tcp://HOST:PORT`.
# syslog_addr = 'udp://localhost:514'

# Messages are from `arbiter.PREFIX.error` and `arbiter.PREFIX.access`.
# syslog_prefix = None  # from arbiter.error and arbiter.access

# The facility of the messages, as in syslog(3).
# syslog_facility = 'user'

# Keep the access log out of syslog.
# disable_redirect_access_to_syslog = False

# An ini file for `logging.config.fileConfig`; see `logconfig_dict`.
# logconfig = None  # none

# A JSON file with what `logconfig_dict` takes.
# logconfig_json = None  # none

# A configuration for `logging.config.dictConfig`. A logger it gives handlers to is the operator's, others
# stay as they are: "arbiter.error" is the log, "arbiter.access" the access log, and "gunicorn.error" and
# "gunicorn.access" mean the same. It counts before `logconfig_json`, and that before `logconfig`.
# logconfig_dict = {}

# Put what workers print (standard output and error) into the log, a record for each line, with the worker's
# name.
# capture_output = False


# -------------------- Control and metrics

# The unix socket that `arbiterctl` talks to. Unset, it is `NAME.ctl` (see `proc_name`) in the first of
# these: systemd's RUNTIME_DIRECTORY; the directory of `pidfile`; `arbiter` in XDG_RUNTIME_DIR or
# /run/user/UID; /run/arbiter for root, a private directory in /tmp for others. `arbiterctl` looks in the
# same places. A socket that cannot be made is a warning: everything else goes on.
# control_socket = None  # found by itself

# The permissions of the control socket. Whom they let in, `control_observers`, `control_operators` and
# `control_admins` must name too; anybody else is told to go away.
# control_socket_mode = 0o600

# Have no control socket. Signals still do what they do.
# control_socket_disable = False

# Users and @groups that may look at a running arbiter with `arbiterctl`, and no more. The user that arbiter
# runs as, and root, may do everything; its own workers may only look, whoever they run as.
# control_observers = []

# Users and @groups that may also do what can be undone: reload, scale, recycle, drain, logs.
# control_operators = []

# Users and @groups that may also stop arbiter and kill workers.
# control_admins = []

# Where arbiter itself answers `/metrics`, `/livez`, `/readyz` and `/startupz`, also while every worker
# hangs. Everybody who reaches the address may read them: keep it off the internet.
# metrics_bind = None  # nowhere

# `/readyz` says yes while at least so many workers serve.
# min_ready = 1

# A statsd to send to, with gunicorn's names: `gunicorn.requests`, `gunicorn.request.duration`,
# `gunicorn.request.status.200`, `gunicorn.workers`, `gunicorn.log.error` and so on.
# statsd_host = None  # none

# What to put before these names; a dot is added.
# statsd_prefix = ''

# Tags to add, in Datadog's format, with commas between them: `site:shop,env:live`.
# dogstatsd_tags = ''

# Send `gunicorn.backlog`, the connections that wait for a worker, to statsd.
# enable_backlog_metric = False


# -------------------- Process

# The name in process titles: `arbiter: master [name]`, `arbiter: worker 3 [name]`.
# proc_name = None  # the application's name

# Go to the background. Under systemd or in a container leave it off.
# daemon = False

# A file that holds arbiter's process id while it runs.
# pidfile = None  # none is written

# The user workers run as, by name or number; arbiter must be started as root.
# user = None  # the user that starts arbiter

# The group workers run as, by name or number.
# group = None  # the group that starts arbiter

# Give workers all groups that `user` belongs to, not only `group`.
# initgroups = False

# The mode bits that files of the workers, and unix sockets, are made without: `0o007` lets only user and
# group connect to a unix socket. gunicorn's default of 0 leaves every file the application makes writable
# for all; here that has to be asked for.
# umask = None  # files are made as the umask arbiter was started with has it, and anybody may connect to a unix socket

# Accepted for gunicorn's sake and not needed: workers show that they live through shared memory, so there
# is no file that a slow disk could delay.
# worker_tmp_dir = None  # not used


# -------------------- Hooks

# In the arbiter, before the first worker is started; after an upgrade in place again, in the new program.
# def on_starting(server):
#     ...

# In the arbiter, when a reload was accepted.
# def on_reload(server):
#     ...

# In the arbiter, when the first worker is ready.
# def when_ready(server):
#     ...

# In the arbiter, before a worker is forked.
# def pre_fork(server, worker):
#     ...

# In a new worker, right after the fork, still as arbiter's user.
# def post_fork(server, worker):
#     ...

# In a worker that has loaded the application.
# def post_worker_init(worker):
#     ...

# In a worker that was told to quit (INT or QUIT).
# def worker_int(worker):
#     ...

# In a worker that is about to be killed for its `timeout` (ABRT).
# def worker_abort(worker):
#     ...

# In the arbiter, before an upgrade in place replaces it, with all signals blocked. If it raises, there is
# no upgrade.
# def pre_exec(server):
#     ...

# In a worker, before a request is given to the application.
# def pre_request(worker, req):
#     ...

# In a worker, after a request; `environ` and `resp` may be left out of the definition.
# def post_request(worker, req, environ, resp):
#     ...

# In the arbiter, when a worker has ended.
# def child_exit(server, worker):
#     ...

# In a worker that is about to end.
# def worker_exit(server, worker):
#     ...

# In the arbiter, when the number of workers was set or changed; the old one is None at first.
# def nworkers_changed(server, new_value, old_value):
#     ...

# In the arbiter, before it ends.
# def on_exit(server):
#     ...
