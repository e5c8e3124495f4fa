"""Transfers of the built-in pack."""
