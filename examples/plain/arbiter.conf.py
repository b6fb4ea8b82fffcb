"""Serve the plain ASGI application: `arbiter -c examples/plain/arbiter.conf.py`."""

import pathlib

app = "asgi_app:application"
chdir = str(pathlib.Path(__file__).parent)
workers = 2
accesslog = "-"
