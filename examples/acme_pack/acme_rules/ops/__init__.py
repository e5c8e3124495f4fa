"""Transfers of Acme's ops."""
