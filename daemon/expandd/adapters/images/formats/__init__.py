"""The outer structure of files, by format: read, not decoded."""
