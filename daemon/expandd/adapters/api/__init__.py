"""The client of the API over HTTP: sends strictly, reads tolerantly."""
