"""Checks: design."""
