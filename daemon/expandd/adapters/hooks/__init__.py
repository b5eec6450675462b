"""What a hook does: runs a command, or posts to a web address."""
