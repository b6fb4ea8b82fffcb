"""What the applications of the chaos do when they are told to go wrong.

/ANYTHING?NAME makes NAME.PID first, so that whoever asked knows which worker it is.
"""

import ctypes
import os
import signal
import threading
import time
from pathlib import Path


def trouble(path, name):
    """Never come back, in the way that the address says; return at once for an address that says nothing."""
    way = WAYS.get(path)
    if way is not None:
        Path(f"{name}.{os.getpid()}").touch()
        way()


def sleep():
    time.sleep(1000)


def spin():
    while True:
        pass


def c_code():
    ctypes.PyDLL(None).sleep(1000)  # PyDLL keeps the interpreter's lock


def leave():
    _pause()
    os._exit(3)


def crash():
    _pause()
    ctypes.string_at(0)


def _pause():
    """Stop the whole process until somebody has seen what it has in work (SIGCONT)."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


WAYS = {"/sleep": sleep, "/spin": spin, "/c-code": c_code, "/leave": leave, "/crash": crash}
