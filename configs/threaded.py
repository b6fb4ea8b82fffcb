"""A WSGI application (Flask, Django, ...) on threads: for code that mostly waits for others."""

wsgi_app = "app:app"
worker_class = "threaded"

bind = ["127.0.0.1:8000", "[::1]:8000"]
workers = "auto"
threads = 8
worker_connections = 2_000

keepalive = 75
timeout = 60
slow_request = 10  # told in the log with the stacks of all threads; nothing is done to it

accesslog = "-"


def post_fork(server, worker):
    """Connections made before the fork must not be shared: make this worker's own here."""
    worker.log.info("worker %s has its own start here", worker.pid)
