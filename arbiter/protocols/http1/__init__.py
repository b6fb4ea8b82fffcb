"""HTTP/1.0 and HTTP/1.1 on the wire (RFC 9112), one implementation for every kind of worker.

`head` reads request heads, `body` the two framings of a request body, `response` writes heads and frames
bodies, `connection` ties them to one TCP connection. Its one rule: strict in what is accepted; whatever
could be read in two ways by two parties is refused.
"""
