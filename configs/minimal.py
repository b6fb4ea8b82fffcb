"""The least one needs: `arbiter -c configs/minimal.py`, from the directory of the application."""

wsgi_app = "main:app"  # WSGI or ASGI: arbiter looks
bind = "127.0.0.1:8000"
workers = "auto"  # one for each CPU this process may use
