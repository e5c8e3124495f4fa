"""Entries that are exactly zero, or one, whatever the weights: polynomial identity testing on the graph.

The graph is run modulo a prime on random numbers, with the arithmetic that its ops have over the reals and random functions in
the place of what is no arithmetic. What is zero there is zero for almost all values of weights and inputs, but for a chance of
``degree / 2^31`` an entry (Schwartz 1980, lemma 1), which a second run squares: a difference of two views of one tensor on its
diagonal, a padded row behind a convolution without bias, the distance of a sample to itself under shared weights.
"""

from .run import Identities

__all__ = ["Identities"]
