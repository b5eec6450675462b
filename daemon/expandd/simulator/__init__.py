"""The simulator: speaks the Magic Expand contract on loopback; imports nothing else of expandd."""
