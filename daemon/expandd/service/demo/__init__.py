"""What is tried without an account: the simulator by itself, and the demo with images of its own."""
