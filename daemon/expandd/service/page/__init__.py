"""The page for the browser: finished images, waiting files, and buttons for commands."""
