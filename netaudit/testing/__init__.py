"""What a pack needs to test itself: its ops against autograd and large samples, its checks against their own examples.

``trials`` is the whole of it: every claim of a pack as a test to run. Behind it, ``Case`` is one call of an op; ``applied`` traces
it through the whole pipeline; ``broken_axioms``, ``search`` with ``unsound`` and ``loose``, and ``misjudged`` say in sentences what
is wrong, or nothing. ``codes`` and ``findings`` audit a model that is given as text, ``facts_of`` derives the facts of a function.
"""

from netaudit.testing.axioms import broken_axioms
from netaudit.testing.case import Applied, Case, Law, applied, facts_of, normal
from netaudit.testing.examples import codes, examples, findings
from netaudit.testing.points import inside, points
from netaudit.testing.probing import refuted
from netaudit.testing.sampling import misjudged
from netaudit.testing.search import Found, jacobians, local_gain, loose, search, unsound
from netaudit.testing.trials import Trial, trials, trials_of_case, trials_of_check

__all__ = [
    "Applied",
    "Case",
    "Found",
    "Law",
    "Trial",
    "applied",
    "broken_axioms",
    "codes",
    "examples",
    "facts_of",
    "findings",
    "inside",
    "jacobians",
    "local_gain",
    "loose",
    "misjudged",
    "normal",
    "points",
    "refuted",
    "search",
    "trials",
    "trials_of_case",
    "trials_of_check",
    "unsound",
]
