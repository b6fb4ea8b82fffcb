"""The versions: arbiter's, which the build reads from this page, and the interpreter's."""

import sys

__version__ = "0.1.0"

PYTHON = ".".join(map(str, sys.version_info[:3]))
"""As `platform.python_version()`, without the rest of that."""
