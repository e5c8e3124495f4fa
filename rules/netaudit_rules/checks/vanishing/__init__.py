"""Checks: vanishing."""
