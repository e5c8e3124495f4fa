"""Checks: meta."""
