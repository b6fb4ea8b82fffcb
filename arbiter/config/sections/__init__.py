"""The declarations, one module per section of the reference page; `config.table` puts them together."""
