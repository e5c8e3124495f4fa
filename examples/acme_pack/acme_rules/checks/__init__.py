"""Checks of models that use Acme's ops."""
