"""How an operator steers a running arbiter. Its one rule: one table of commands, whatever way they arrive."""
