"""The WSGI application of the chaos: a few milliseconds of work, or trouble."""

import os
import time

from trouble import trouble

VERSION = "1"


def application(environ, start_response):
    trouble(environ["PATH_INFO"], environ["QUERY_STRING"])
    time.sleep(0.002)
    body = f"pid={os.getpid()} version={VERSION}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
