"""Decodes and encodes images in child processes, so that a hostile image ends only its process."""
