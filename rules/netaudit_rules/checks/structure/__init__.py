"""Checks: structure of the model and of its loss."""
