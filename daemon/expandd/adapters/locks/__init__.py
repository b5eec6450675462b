"""Locks that keep a second instance away from a state directory, an account or an inbox."""
