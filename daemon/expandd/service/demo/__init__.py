"""What is tried without an account: the practice server by itself, and the demo with pictures of its own."""
