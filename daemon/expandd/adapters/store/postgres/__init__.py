"""The job database of several hosts: Postgres. Imported only where `cluster.database_file` is set."""
