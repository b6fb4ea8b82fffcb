"""How `make run` serves this project. Every name is a setting; `arbiter --print-config` shows them all."""

import pathlib

_here = pathlib.Path(__file__).parent

app = "showcase.asgi:application"  # or "showcase.wsgi:application", with worker_class = "threaded"
chdir = str(_here)
bind = "127.0.0.1:8000"
workers = 3
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(B)s %(M)dms %(p)s'
proc_name = "showcase"
