"""Checks of the built-in pack, one a file."""
