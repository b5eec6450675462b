"""Reports events as they happen: log, hooks, metrics."""
