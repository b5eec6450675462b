"""Builds, starts, reloads and stops the daemon and `once`, and notifies systemd."""
