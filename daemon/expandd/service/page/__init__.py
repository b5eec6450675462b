"""The page for the browser: what is done, shown as images; what waits, and the few things to command."""
