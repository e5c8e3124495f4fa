"""The application that commands are added to, and what they exit with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from netaudit.config import Config

CLEAN, FINDINGS, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
EPILOG = (
    "exit codes: 0 clean · 1 findings at or above the fail level · 2 usage, configuration or target · "
    "3 not wholly checked · 130 interrupted"
)

app = typer.Typer(
    name="netaudit",
    help="A linter for the trainability of PyTorch models.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Given to a command in place of its arguments: the configuration is not that of the working directory, nor is the project's root."""

    config: Config
    root: Path
