"""Paths below people's hands: everything here reaches them by walking, and nothing else reaches them at all."""
