"""Checks: jacobian."""
