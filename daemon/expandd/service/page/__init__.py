"""The page for the browser: what is done, shown as pictures; what waits, and the few things to order."""
