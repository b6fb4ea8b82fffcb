"""A Django project under ASGI, behind a proxy on the same machine."""

wsgi_app = "mysite.asgi:application"
# django_settings = "mysite.settings.live"  # else what the environment or mysite/asgi.py says
# chdir = "/srv/mysite"  # where manage.py is; needed if arbiter is not started there

bind = "127.0.0.1:8000"
workers = "auto"
keepalive = (
    75  # longer than the proxy keeps a connection idle (nginx: 60), so that it never meets a closed one
)

# Views may stream for as long as they like; the timeout is for an event loop that hangs.
timeout = 30
graceful_timeout = 30

max_requests = 10_000  # a fresh worker now and then: its successor serves before it goes
max_requests_jitter = 1_000

limit_request_body = "100M"  # the largest upload; Django's own limits hold below it

accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(B)s %(M)sms "%(a)s"'
