"""Other people's schemas of YAML files: the copies of schemastore.org that the package check-jsonschema carries."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest


@pytest.fixture(scope="session")
def validated() -> Callable[[str, object], None]:
    """A function that holds a document against a schema by its name: github-actions, github-workflows, gitlab-ci."""
    spec = find_spec("check_jsonschema")
    if spec is None or spec.origin is None:
        pytest.skip("check-jsonschema is not installed")
    folder = Path(spec.origin).parent / "builtin_schemas" / "vendor"

    def validate(name: str, document: object) -> None:
        schema = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        jsonschema.validate(document, schema)

    return validate
