"""Reads the outer structure of files, by format, without decoding them."""
