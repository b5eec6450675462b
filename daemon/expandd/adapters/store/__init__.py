"""Keeps jobs, payments, commands and holds in the job database: SQLite or Postgres."""
