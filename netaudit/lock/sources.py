"""Hashes of what an audit rests on, the same wherever a commit is checked out: no paths, no machine, no line endings."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from netaudit.cache.state import content, key_of
from netaudit.settings import nearest

DIGITS = 32
"""Of a sha256, in hexadecimal: 128 bits are out of reach for whoever looks for another file with this hash."""
_LOOKED_AT = 8000
"""Bytes without a NUL that make a file text, as git decides it."""
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*oid sha256:([0-9a-f]{64})\nsize \d+\n")


def digest(path: Path) -> str:
    """The hash of a file; empty when it is not there.

    Text is hashed with the ends of its lines as LF: git may write CRLF (``core.autocrlf``), and that changes no program. Where
    Git LFS left a pointer in place of a file, its hash is that of the file.
    """
    if not path.is_file():  # a device has no end
        return ""
    try:
        with path.open("rb") as stream:
            head = stream.read(_LOOKED_AT)
            if b"\0" in head:
                return content(str(path))[:DIGITS]
            text = (head + stream.read()).replace(b"\r\n", b"\n")
    except OSError:
        return ""
    pointer = _POINTER.fullmatch(text) if len(text) < 1024 else None  # the specification's own limit
    return pointer[1].decode()[:DIGITS] if pointer else hashlib.sha256(text).hexdigest()[:DIGITS]


def settings(folder: Path) -> str:
    """The hash of the settings of netaudit nearest to a folder, and of where they stand; empty when there are none.

    The rest of a ``pyproject.toml`` does not count.

    Raises:
        ConfigError: a file is not TOML.
    """
    found = nearest(folder)
    if found is None:
        return ""
    path, table = found
    return key_of(relative(path, folder), table)[:DIGITS]


def relative(path: str | Path, folder: Path) -> str:
    """A path as a lock in a folder names it."""
    return Path(os.path.relpath(path, folder)).as_posix()
