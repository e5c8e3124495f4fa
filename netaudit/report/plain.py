"""What the reports of forecasts and certificates share: a JSON document, a table that is cut in the middle."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .schema import Model


def document(targets: Sequence[Model]) -> str:
    """One object for one target, ``{"targets": [...]}`` for several; sorted, no NaN, no infinity."""
    objects = [target.model_dump(mode="json", by_alias=True) for target in targets]
    whole: object = objects[0] if len(objects) == 1 else {"targets": objects}
    return json.dumps(whole, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def abridged(rows: Sequence[tuple[str, ...]], shown: int, *, full: bool) -> list[tuple[str, ...]]:
    """The first and the last rows of a long table, and how many are left out between them."""
    if full or len(rows) <= shown:
        return list(rows)
    gap = ("...", f"{len(rows) - shown} more (--full)", *("" for _ in rows[0][2:]))
    return [*rows[: shown // 2], gap, *rows[-shown // 2 :]]
