"""Where the settings of a project stand: the nearest file that holds some, and its table as it is, not yet looked at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .errors import ConfigError

FILES = ("netaudit.toml", "pyproject.toml")  # in one folder the first wins


def nearest(start: Path | None = None) -> tuple[Path, Mapping[str, object]] | None:
    """The file nearest to ``start`` (a folder; the working directory if None), going up, that holds settings, and these.

    A ``pyproject.toml`` without ``[tool.netaudit]`` does not count.

    Raises:
        ConfigError: a file is not TOML.
    """
    folder = (start or Path.cwd()).absolute()
    for place in (folder, *folder.parents):
        for name in FILES:
            table = _table(place / name)
            if table is not None:
                return place / name, table
    return None


def shown(path: Path) -> str:
    """A path as messages name it."""
    return Path(os.path.relpath(path)).as_posix()


def kind_of(value: object) -> str:
    """A value and what it is, in the words of TOML."""
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", dict: "a table", list: "a list"}
    kind = names.get(type(value), f"a {type(value).__name__}")
    return kind if isinstance(value, dict | list) else f"{value!r} ({kind})"


def _table(path: Path) -> Mapping[str, object] | None:
    """The settings in a file, not yet looked at; None when it is not there or holds none."""
    if not path.is_file():
        return None
    import re
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1  # "at end of document"
        raise ConfigError(f"{shown(path)}:{line}: {error}", "mend the TOML") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shown(path)} cannot be read: {error}", "TOML is UTF-8 text") from error
    if path.name == "netaudit.toml":
        return data
    tool = data.get("tool")
    table: object = tool.get("netaudit") if isinstance(tool, dict) else None
    if table is None or isinstance(table, dict):
        return table
    raise ConfigError(f"{shown(path)}: tool.netaudit: expected a table, found {kind_of(table)}", "write [tool.netaudit]")
