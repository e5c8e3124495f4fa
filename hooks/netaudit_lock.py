#!/usr/bin/env python3
"""The hook `netaudit-lock`: `netaudit lock --check`, by the code of this very checkout, with nothing installed but python."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  # pre-commit runs the python3 of the machine, whichever that is
    sys.exit(f"netaudit-lock needs python 3.11, and python3 is {sys.version.split()[0]}")

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from netaudit.__main__ import main  # found beside this file, which the line above arranges

sys.argv[1:1] = ["lock", "--check"]
main()
