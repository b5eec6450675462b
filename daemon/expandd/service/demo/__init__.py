"""What is tried without an account: the simulator by itself, and the demo with pictures of its own."""
