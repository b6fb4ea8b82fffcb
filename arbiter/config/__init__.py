"""What may be set, where a value came from, and the frozen result.

`table` declares the settings, `sources` collects and reads their values, `check` compares them with each
other, `snapshot` is what the rest of arbiter sees, `options` and `render` show the table to people.
"""
