"""Bytes to events and events to bytes, without a socket, a clock or a thread.

`events` is the vocabulary, `limits` what a peer may grow, `fields` the rules for header fields, `http1` the
HTTP/1.x connection, `peer` who the client really is (PROXY protocol, Forwarded). Its one rule: sans-IO;
nothing here imports config, sockets, clocks, logging or asyncio.
"""
