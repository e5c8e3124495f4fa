"""Checks: optimiser."""
