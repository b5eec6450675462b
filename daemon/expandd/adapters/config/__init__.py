"""The configuration: from a YAML file to settings, or to all its mistakes at once."""
