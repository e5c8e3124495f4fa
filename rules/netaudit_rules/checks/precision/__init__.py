"""Checks: precision."""
