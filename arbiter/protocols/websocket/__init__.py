"""WebSocket (RFC 6455, RFC 7692) without its socket: the opening handshake and the frames after it."""
