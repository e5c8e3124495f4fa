"""`netaudit clean`."""

from __future__ import annotations

import sys

from .app import CLEAN, app
from .kept import CacheDir


@app.command()
def clean(cache_dir: CacheDir = None) -> int:
    """Delete the cache of this project."""
    from netaudit.cache import cleaned, default_folder

    folder = cache_dir or default_folder()
    files, size = cleaned(folder)
    sys.stdout.write(f"{folder}: {f'{files} files, {size / 1024:.0f} kB deleted' if files else 'nothing to delete'}\n")
    return CLEAN
