"""What makes a page safe to open and to keep: its policy, and the JSON report inside it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json

from netaudit.finding import Report
from netaudit.report.json import model

PACKED_ABOVE = 48_000
"""Characters of JSON above which it is stored compressed: the numbers are in the tables already, as text."""


def policy(style: str, script: str) -> str:
    """The content security policy: nothing is loaded, and of code only these two texts run."""
    return f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embedded(report: Report) -> str:
    """The JSON report as the content of a script element, always JSON itself.

    A small report is the object; a large one is a string, the object's text in gzip and base64. ``<``, ``>`` and ``&`` are
    escaped, so that no text of a user's ends the element.
    """
    text = json.dumps(model(report).model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > PACKED_ABOVE:
        return json.dumps(base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode())
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
