"""Models without weights: large parameters hold no values, and what initialises them is followed on a small sample.

``recorder.py`` builds a model this way and ``followed.py`` keeps the samples; ``places.py`` and ``sample.py`` say what a sample
is, ``operation.py`` and ``rules.py`` what an operator does to it. ``law.py`` is what is left in the end: the distribution of
each parameter, or why it is not known.
"""

from __future__ import annotations

from netaudit.intake.hollow.followed import ValuelessError
from netaudit.intake.hollow.law import Absent, Law
from netaudit.intake.hollow.operation import is_hollow
from netaudit.intake.hollow.recorder import Recorder

__all__ = ["Absent", "Law", "Recorder", "ValuelessError", "is_hollow"]
