"""Certified spectral norms of one linear map: of a matrix, a convolution, or anything that can be applied.

Every :class:`Certificate` brackets ``||A||_2`` in exact arithmetic for exactly the given weights, rounding included.
"""

from netaudit.norms.axis import PaddingMode
from netaudit.norms.certificate import Certificate, Effort
from netaudit.norms.conv import conv, conv_transpose
from netaudit.norms.dense import dense, dense_batch, dense_streamed
from netaudit.norms.operator import operator

__all__ = [
    "Certificate",
    "Effort",
    "PaddingMode",
    "conv",
    "conv_transpose",
    "dense",
    "dense_batch",
    "dense_streamed",
    "operator",
]
