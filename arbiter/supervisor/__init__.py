"""The arbiter process: it owns sockets and processes and no application code.

`policy` decides and does nothing, everything else does and decides nothing.
"""
