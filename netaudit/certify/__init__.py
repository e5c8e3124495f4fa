"""Certified Lipschitz constants of whole networks: global, and local in a ball around the example input.

A positive semidefinite certificate ``P`` with ``dz dz^T <= ||dx||^2 P`` is carried through the graph where that is affordable,
plain composition of norms elsewhere; every number that leaves this room as proved was computed with outward rounding.
"""

from netaudit.certify.ball import Ball, Norm
from netaudit.certify.lower import largest_gain
from netaudit.certify.network import NetworkBound, NodeBound, Segment, certify
from netaudit.certify.pipeline import Certified, Request, certify_subject
from netaudit.certify.plan import Live, live_part

__all__ = [
    "Ball",
    "Certified",
    "Live",
    "NetworkBound",
    "NodeBound",
    "Norm",
    "Request",
    "Segment",
    "certify",
    "certify_subject",
    "largest_gain",
    "live_part",
]
