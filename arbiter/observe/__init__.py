"""What the server says about itself: `logs` (events for operators) and `access` (one line per exchange).

Neighbours: `workers` and `supervisor` write through it; it imports only `protocols`, `config`, `errors`. Its
one rule: observing never changes what is observed: no record may fail, block or be forged by a peer.
"""
