"""The code that SQLite and Postgres share: rows, queries, changes, and the writer thread."""
