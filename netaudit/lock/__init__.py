"""A committed file that says what was audited, as it was then, and what was found: compared with the sources without torch.

Nothing here needs more than the standard library, so that a hook can look at a lock where nothing is installed.
"""

from __future__ import annotations

from .compare import Change, changes
from .document import FILE, Entry, Lock, Verdict, read, text_of
from .told import answered, asked, exit_code, told

__all__ = ["FILE", "Change", "Entry", "Lock", "Verdict", "answered", "asked", "changes", "exit_code", "read", "text_of", "told"]
