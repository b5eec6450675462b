"""What SQLite and Postgres have in common: rows, queries, changes, and the thread that writes."""
