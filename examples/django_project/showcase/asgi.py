"""The project for ASGI servers: `arbiter showcase.asgi:application`."""

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "showcase.settings")

# Wrapped in middleware as real projects are; this one serves the admin's own style sheets.
application = ASGIStaticFilesHandler(get_asgi_application())
