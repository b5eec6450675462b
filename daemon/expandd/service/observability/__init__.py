"""What is told to others as it happens: the log, hooks, metrics."""
