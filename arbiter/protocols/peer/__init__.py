"""Who the client really is, when something stands in between.

`forwarded` reads what an HTTP proxy says in fields, `proxy_protocol` what a TCP proxy says before the first
byte. Its one rule: nobody is believed who was not named by the operator.
"""
