"""What is modelled of tensors: second moments by pair pattern, and their algebra. Pure numpy; stands on its own."""

from netaudit.moments.algebra import noise as random_numbers
from netaudit.moments.cotangent import Cotangent, accumulate, cotangent
from netaudit.moments.cotangent import unknown as unknown_cotangent
from netaudit.moments.kernels import Kernel, constant, from_array, from_blocks, independent, shared
from netaudit.moments.modelled import Modelled, Pull
from netaudit.moments.state import MASKED, Moments, known_array, of
from netaudit.moments.tape import Var, joined, record

__all__ = [
    "MASKED",
    "Cotangent",
    "Kernel",
    "Modelled",
    "Moments",
    "Pull",
    "Var",
    "accumulate",
    "constant",
    "cotangent",
    "from_array",
    "from_blocks",
    "independent",
    "joined",
    "known_array",
    "of",
    "random_numbers",
    "record",
    "shared",
    "unknown_cotangent",
]
