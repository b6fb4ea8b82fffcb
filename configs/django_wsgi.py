"""A Django project under WSGI, one request at a time in each worker, behind a proxy by a unix socket."""

wsgi_app = "mysite.wsgi:application"
# django_settings = "mysite.settings.live"  # else what the environment or mysite/wsgi.py says
# chdir = "/srv/mysite"  # where manage.py is; needed if arbiter is not started there

worker_class = "sync"
bind = "unix:mysite.sock"  # peers on a unix socket may say whom they forward for
umask = 0o007  # user and group may connect, others may not

# A sync worker waits while the database answers, so there are more workers than CPUs.
workers = 4
timeout = 30  # a request that takes longer is told with its stack, and its worker replaced
max_requests = 10_000
max_requests_jitter = 1_000

limit_request_body = "100M"
body_spool = "1M"  # a longer body waits in a file until it is complete; slow clients hold no worker

accesslog = "-"
