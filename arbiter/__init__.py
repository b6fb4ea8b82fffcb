"""arbiter: a multi-process supervisor and application server for Python (WSGI and ASGI).

Start with `docs/design.md`. The layers, from the top: cli; supervisor and workers; link; control, gateways,
application and hooks; config; observe; protocols; errors.
"""

from .deadline import extend_deadline
from .version import __version__

__all__ = ["__version__", "extend_deadline"]
