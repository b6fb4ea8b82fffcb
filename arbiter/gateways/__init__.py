"""Between HTTP events and applications: ASGI (http, websocket, lifespan) and WSGI.

Its one rule: sans-IO; a gateway turns a request into what the interface asks for, judges what the application
does with it, and leaves sockets, clocks and logs to the dispatchers.
"""
