"""Checks: attention."""
