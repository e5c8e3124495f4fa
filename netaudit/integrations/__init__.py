"""Callbacks that audit a model while it is trained, one file for each framework; none is imported before it is asked for."""
