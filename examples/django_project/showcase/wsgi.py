"""The project for WSGI servers: `arbiter -k threaded showcase.wsgi:application`."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "showcase.settings")

application = StaticFilesHandler(get_wsgi_application())
