"""The coordinate check: which sizes, and which steps of training, change with the width or the depth of a model."""

from .points import Asked
from .sweep import Swept, summed_up, swept

__all__ = ["Asked", "Swept", "summed_up", "swept"]
