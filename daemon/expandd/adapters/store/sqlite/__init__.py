"""The job database of one host: SQLite in the state directory."""
