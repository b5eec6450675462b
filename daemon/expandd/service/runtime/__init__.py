"""The daemon's day and the work of `once`: building, starting, reloading, stopping, and what systemd hears of it."""
