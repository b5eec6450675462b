"""expandd: a hot-folder daemon for the Magic Expand API."""

__version__ = "0.1.0"
