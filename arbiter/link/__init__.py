"""What the arbiter and its workers share: messages on a channel, and the scoreboard in shared memory.

Its one rule: what processes say to each other is listed here and nowhere else.
"""
