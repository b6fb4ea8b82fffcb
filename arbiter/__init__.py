"""arbiter: a multi-process supervisor and application server for Python (WSGI and ASGI).

Start with `docs/design.md`; the layers, from the top: cli, supervisor and workers, control, gateways and link,
observe and protocols, config, errors.
"""

from .version import __version__

__all__ = ["__version__"]
