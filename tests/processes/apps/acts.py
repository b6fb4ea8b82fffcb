"""What the addresses of both test applications do beside answering.

/hold?NAME       makes NAME.started, then waits for NAME.go (in the application: only it knows how to wait)
/orphan          leaves a child of nobody behind
/exit?N          ends the worker with os._exit(N)
/environ?NAME    tells a variable of the worker's environment
/length          reads the whole body (in the application), then tells its length
/descriptors     tells which descriptors a program started here inherits
"""

import os
import subprocess
import sys

_LIST = """
import os
def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
print(",".join(name for name in os.listdir("/proc/self/fd") if is_open(int(name))))
"""


def act(path, query):
    """Do what the address says and return what the answer should add."""
    if path == "/orphan":
        subprocess.run(["sh", "-c", "sh -c 'exit 3' &"], check=True)
    elif path == "/exit":
        os._exit(int(query))
    elif path == "/length":
        return f" length={query}"
    elif path == "/environ":
        return f" {query}={os.environ.get(query, '')}"
    elif path == "/descriptors":
        child = subprocess.run(
            [sys.executable, "-c", _LIST], check=True, stdout=subprocess.PIPE, text=True, close_fds=False
        )
        return f" descriptors={child.stdout.strip()}"
    return ""
