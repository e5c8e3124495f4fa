"""The reference of the JSON documents, as Markdown: every key of every kind, from the published schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from tabulate import tabulate

from .documents import KINDS, json_schema

Schema: TypeAlias = Mapping[str, Any]
HEAD = """\
# The JSON documents

Generated from the models in the code by `python -m netaudit.manual`; a test keeps it current. Do not edit.

`netaudit schema KIND` prints the JSON Schema of each kind. An object has the keys listed here, all of them, and no others.
Sizes are `log10`: products over many layers leave what a float can hold. NaN and infinity never occur; where there is no number it is
`null`, and a `status` says why. Keys are sorted, and two runs give the same bytes.

`schema_version` is `MAJOR.MINOR`: keys that are added raise the second number, keys that go or change their meaning the first.
"""


def reference() -> str:
    """``docs/json.md``."""
    told: set[str] = set()
    return "\n".join([HEAD, *("\n".join(_kind(kind, told)) for kind in KINDS)])


def _kind(kind: str, told: set[str]) -> Iterator[str]:
    """The objects of a kind, those that another kind has told of left out."""
    schema = json.loads(json_schema(kind))
    objects: dict[str, Schema] = schema.pop("$defs", {})
    yield f"## {kind}\n"
    yield f"Written by {KINDS[kind].written_by}. Version {KINDS[kind].version}.\n"
    if "properties" in schema:
        yield f"{schema['description']}\n"
        yield _table(schema)
    else:
        yield f"One of {_type(schema)}.\n"
    for name in _in_order(schema, objects):
        if name not in told:
            told.add(name)
            yield f"### {name.removesuffix('Model')}\n"
            yield f"{_prose(objects[name]['description'])}\n"
            yield _table(objects[name])


def _in_order(schema: Schema, objects: Mapping[str, Schema]) -> list[str]:
    """The objects as a reader meets them: depth first, from the document down."""
    found: dict[str, None] = {}

    def visit(part: Any) -> None:
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found[name] = None
                visit(objects[name])
            for key, value in part.items():
                if key != "discriminator":
                    visit(value)
        elif isinstance(part, list):
            for value in part:
                visit(value)

    visit({"properties": {name: schema["properties"][name] for name in schema["properties"]}} if "properties" in schema else schema)
    return list(found)


def _table(schema: Schema) -> str:
    rows = [(f"`{name}`", _type(known), _cell(known["description"])) for name, known in schema["properties"].items()]
    return tabulate(rows, headers=("key", "type", "meaning"), tablefmt="github") + "\n"


def _type(schema: Schema) -> str:
    """A type in words; objects are links."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2].removesuffix("Model")
        return f"[{name}](#{name.lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(_type(part) for part in schema[choice])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(word)}`" for word in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object":
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema["type"])


def _prose(text: str) -> str:
    """A docstring as a paragraph of Markdown."""
    return " ".join(text.replace("``", "`").split())


def _cell(text: str) -> str:
    """Text that cannot end a table cell, and that Markdown takes as it is."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
