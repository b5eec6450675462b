"""The API: one client over HTTP, strict in what it sends, tolerant in what it reads."""
