"""What an audit said, kept for the next run that asks the same: JSON only, and never trusted where anything has changed."""

from __future__ import annotations

from .state import Plan, state_of
from .store import FOLDER, Store, cleaned, default_folder, replaced, store_at
from .watch import Seen, watching

__all__ = ["FOLDER", "Plan", "Seen", "Store", "cleaned", "default_folder", "replaced", "state_of", "store_at", "watching"]
