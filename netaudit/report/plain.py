"""What the reports of forecasts and certificates share: a JSON document without a schema, a table that is cut in the middle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence


def document(targets: Sequence[Mapping[str, object]]) -> str:
    """One object for one target, ``{"targets": [...]}`` for several; sorted, no NaN, no infinity."""
    whole: object = targets[0] if len(targets) == 1 else {"targets": targets}
    return json.dumps(whole, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def abridged(rows: Sequence[tuple[str, ...]], shown: int, *, full: bool) -> list[tuple[str, ...]]:
    """The first and the last rows of a long table, and how many are left out between them."""
    if full or len(rows) <= shown:
        return list(rows)
    gap = ("...", f"{len(rows) - shown} more (--full)", *("" for _ in rows[0][2:]))
    return [*rows[: shown // 2], gap, *rows[-shown // 2 :]]
