"""What is drawn: previews and contact sheets."""
