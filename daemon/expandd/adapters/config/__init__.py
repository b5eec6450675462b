"""The configuration: from a YAML file to settings, or to all its errors at once."""
