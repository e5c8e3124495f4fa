"""Checks: exploding."""
