"""The programs of docs/python.md run as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

TEXT = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


class _Fixture:
    """What the programs call ``netaudit`` where they stand for a test."""

    def check(self, model: Any, inputs: Any) -> None:
        import netaudit

        assert netaudit.audit(model, inputs).ok


def test_every_program_runs() -> None:
    blocks = [token.content for token in MarkdownIt().parse(TEXT) if token.type == "fence" and token.info == "python"]
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    names["test_the_model_trains"](_Fixture())
